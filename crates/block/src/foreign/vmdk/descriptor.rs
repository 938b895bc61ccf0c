//! The descriptor: text that says which extents a disk consists of.
//! Spec: VMware, "Virtual Disk Format 5.0", "The Descriptor File".

use super::SECTOR;

/// Extents that a disk may have: 2 GiB each in the format that has the most.
const MAX_EXTENTS: usize = 4096;
const NO_PARENT: &str = "ffffffff";

#[derive(Debug, Default)]
pub(super) struct Descriptor {
    pub(super) extents: Vec<ExtentLine>,
}

#[derive(Debug)]
pub(super) struct ExtentLine {
    /// Bytes.
    pub(super) len: u64,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The file's bytes from an offset on.
    Flat {
        name: String,
        offset: u64,
    },
    Sparse {
        name: String,
    },
    Zeros,
}

impl Descriptor {
    pub(super) fn parse(text: &str) -> Result<Descriptor, String> {
        let mut descriptor = Descriptor::default();
        for line in text
            .lines()
            .map(|line| line.trim_matches(['\0', ' ', '\t', '\r']))
        {
            if let Some((key, value)) = line.split_once('=')
                && key.trim().eq_ignore_ascii_case("parentCID")
                && !value.trim().eq_ignore_ascii_case(NO_PARENT)
            {
                return Err("it has a parent: only a part of a disk".into());
            }
            let access = line.split_whitespace().next().unwrap_or_default();
            if matches!(access, "RW" | "RDONLY") {
                if descriptor.extents.len() >= MAX_EXTENTS {
                    return Err(format!("it has more than {MAX_EXTENTS} extents"));
                }
                descriptor.extents.push(parse_extent(line)?);
            } else if access == "NOACCESS" {
                return Err("an extent of it must not be read".into());
            }
        }
        Ok(descriptor)
    }
}

/// `RW 4192256 SPARSE "name"`, `RW 63 FLAT "name" 0`, `RW 63 ZERO`.
fn parse_extent(line: &str) -> Result<ExtentLine, String> {
    let bad = || format!("its descriptor has the line {line:?}");
    let mut quoted = line.splitn(3, '"');
    let words = quoted.next().unwrap_or_default();
    let mut words = words.split_whitespace().skip(1);
    let sectors: u64 = words
        .next()
        .and_then(|it| it.parse().ok())
        .ok_or_else(bad)?;
    let len = sectors.checked_mul(SECTOR).ok_or_else(bad)?;
    let kind = words.next().ok_or_else(bad)?;
    let name = quoted.next().map(str::to_owned);
    let offset = quoted.next().unwrap_or_default().trim();
    let offset: u64 = match offset.split_whitespace().next() {
        None => 0,
        Some(number) => number.parse().map_err(|_| bad())?,
    };
    let kind = match (kind, name) {
        ("ZERO", _) => Kind::Zeros,
        ("FLAT" | "VMFS", Some(name)) => Kind::Flat {
            name,
            offset: offset.checked_mul(SECTOR).ok_or_else(bad)?,
        },
        ("SPARSE", Some(name)) => Kind::Sparse { name },
        (other, _) => return Err(format!("an extent of it is of the type {other}")),
    };
    Ok(ExtentLine { len, kind })
}
