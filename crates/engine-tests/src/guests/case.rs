//! The header of a guest test, as values.

use x86::exception::vector;
use x86::register::rflags;

use crate::Mode;

/// Something that can be set before and compared after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// By its index in the state.
    General(usize),
    Rip,
    Control(u8),
    Efer,
    Xmm(usize),
    Ymm(usize),
    /// Size in bytes, address.
    Memory(usize, u64),
}

/// A number of up to 32 bytes, little-endian.
pub(crate) type Value = [u8; 32];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) vector: u8,
    pub(crate) error: Option<u64>,
    pub(crate) at: Option<u64>,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) mode: Mode,
    pub(crate) engines: Vec<String>,
    pub(crate) needs: Vec<String>,
    pub(crate) inputs: Vec<(Place, Value)>,
    pub(crate) outputs: Vec<(Place, Value)>,
    /// Wanted status flags, and which of the six count.
    pub(crate) flags: Option<(u64, u64)>,
    pub(crate) trap: Option<Trap>,
}

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

const FLAGS: [(&str, u64); 6] = [
    ("CF", rflags::CF),
    ("PF", rflags::PF),
    ("AF", rflags::AF),
    ("ZF", rflags::ZF),
    ("SF", rflags::SF),
    ("OF", rflags::OF),
];

const VECTORS: [(&str, u8); 17] = [
    ("DE", vector::DE),
    ("DB", vector::DB),
    ("BP", vector::BP),
    ("OF", vector::OF),
    ("BR", vector::BR),
    ("UD", vector::UD),
    ("NM", vector::NM),
    ("DF", vector::DF),
    ("TS", vector::TS),
    ("NP", vector::NP),
    ("SS", vector::SS),
    ("GP", vector::GP),
    ("PF", vector::PF),
    ("MF", vector::MF),
    ("AC", vector::AC),
    ("XM", vector::XM),
    ("INT80", 0x80),
];

/// A number in the radix that its prefix says, as bytes.
fn number(text: &str) -> Option<Value> {
    let mut value = [0; 32];
    match text.strip_prefix("0x") {
        Some(digits) => {
            if digits.is_empty() || digits.len() > 64 {
                return None;
            }
            for (index, digit) in digits.chars().rev().enumerate() {
                let digit = u8::try_from(digit.to_digit(16)?).ok()?;
                value[index / 2] |= digit << (4 * (index % 2));
            }
        }
        None => value[..8].copy_from_slice(&text.parse::<u64>().ok()?.to_le_bytes()),
    }
    Some(value)
}

/// The low eight bytes of a value.
pub(crate) fn low(value: &Value) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&value[..8]);
    u64::from_le_bytes(bytes)
}

fn indexed(text: &str, name: &str) -> Option<usize> {
    text.strip_prefix(name)?
        .parse()
        .ok()
        .filter(|&index| index < 16)
}

fn place(text: &str) -> Option<Place> {
    if let Some(index) = GENERAL.iter().position(|name| *name == text) {
        return Some(Place::General(index));
    }
    if let Some(rest) = text.strip_prefix("mem") {
        let (bits, address) = rest.strip_suffix(']')?.split_once('[')?;
        let bytes = match bits {
            "8" | "16" | "32" | "64" | "80" | "128" | "256" => bits.parse::<usize>().ok()? / 8,
            _ => return None,
        };
        return Some(Place::Memory(bytes, low(&number(address)?)));
    }
    Some(match text {
        "rip" => Place::Rip,
        "efer" => Place::Efer,
        "cr0" => Place::Control(0),
        "cr2" => Place::Control(2),
        "cr3" => Place::Control(3),
        "cr4" => Place::Control(4),
        _ => match indexed(text, "xmm") {
            Some(index) => Place::Xmm(index),
            None => Place::Ymm(indexed(text, "ymm")?),
        },
    })
}

fn flag_bits(list: &str) -> Result<u64, String> {
    list.split(',')
        .filter(|name| !name.is_empty())
        .try_fold(0, |bits, name| {
            let found = FLAGS.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, bit)| bits | bit)
                .ok_or_else(|| format!("there is no flag {name:?}"))
        })
}

impl Case {
    /// Reads the comment lines of a file.
    pub(crate) fn parse(source: &str) -> Result<Case, String> {
        let mut case = Case {
            mode: Mode::Long64,
            engines: Vec::new(),
            needs: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            flags: None,
            trap: None,
        };
        let mut has_mode = false;
        for line in source.lines() {
            let Some((key, rest)) = line.strip_prefix(';').and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            let words = rest.split_whitespace();
            match key.trim() {
                "mode" => {
                    case.mode = mode(rest.trim())?;
                    has_mode = true;
                }
                "engines" => case.engines = words.map(str::to_owned).collect(),
                "needs" => case.needs = words.map(str::to_owned).collect(),
                "in" => {
                    for word in words {
                        case.inputs.push(assignment(word)?);
                    }
                }
                "out" => words.into_iter().try_for_each(|word| case.output(word))?,
                _ => {}
            }
        }
        if !has_mode {
            return Err("the header has no mode".to_owned());
        }
        if case.outputs.is_empty() && case.flags.is_none() && case.trap.is_none() {
            return Err("the header has nothing that comes out".to_owned());
        }
        Ok(case)
    }

    fn output(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| format!("{word:?} has no '='"))?;
        let number = || {
            number(value)
                .map(|value| low(&value))
                .ok_or(format!("{value:?}: no number"))
        };
        match name {
            "flags" => {
                let counted = self.flags.map_or(rflags::STATUS, |(_, counted)| counted);
                self.flags = Some((flag_bits(value)?, counted));
            }
            "ignore" => {
                let wanted = self.flags.map_or(0, |(wanted, _)| wanted);
                self.flags = Some((wanted, rflags::STATUS & !flag_bits(value)?));
            }
            "trap" => {
                let found = VECTORS.iter().find(|(known, _)| *known == value);
                let vector = found
                    .ok_or_else(|| format!("there is no trap {value:?}"))?
                    .1;
                self.trap = Some(Trap {
                    vector,
                    error: None,
                    at: None,
                });
            }
            "error" | "at" => {
                let number = number()?;
                let trap = self.trap.as_mut().ok_or("error and at come after trap")?;
                *(if name == "at" {
                    &mut trap.at
                } else {
                    &mut trap.error
                }) = Some(number);
            }
            _ => self.outputs.push(assignment(word)?),
        }
        Ok(())
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "real16" => Ok(Mode::Real16),
        "protected32" => Ok(Mode::Protected32),
        "long64" => Ok(Mode::Long64),
        _ => Err(format!("there is no mode {text:?}")),
    }
}

fn assignment(word: &str) -> Result<(Place, Value), String> {
    let (name, value) = word
        .split_once('=')
        .ok_or_else(|| format!("{word:?} has no '='"))?;
    let place = place(name).ok_or_else(|| format!("there is nothing called {name:?}"))?;
    let value = number(value).ok_or_else(|| format!("{value:?} is no number"))?;
    Ok((place, value))
}

#[cfg(test)]
mod tests;
