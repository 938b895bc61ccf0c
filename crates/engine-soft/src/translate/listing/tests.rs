//! Golden translations: `golden/*.txt` hold guest code and the host code that it becomes, so that a
//! change of the translator shows what it changes. After a change that is meant:
//! `GOLDEN=write cargo test -p engine-soft --lib golden`, and read the difference.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use x86::cpuid::{self, HostCpuid, VcpuParams};

use super::listing;
use crate::cpu::CodeSize;
use crate::interp::decode::Context;
use crate::interp::vector::available::Available;
use crate::translate::assembler::Assembler;
use crate::translate::emitter::Frame;
use crate::translate::mode::Mode;
use crate::translate::runtime_raw::Stubs;
use crate::translate::unit::Kind;

const BASE: u64 = 0x1_0000_0000;

/// The supervisor's code at offset 100h of its page, on a host with BMI2.
fn translated(size: CodeSize, code: &[u8]) -> Option<String> {
    let mut asm = Assembler::new();
    asm.start(BASE - 0x1_0000, BASE - 0x1000);
    let stubs = Stubs::write(&mut asm, false);
    let frame = Frame {
        stubs: &stubs,
        mode: Mode {
            code32: size == CodeSize::Bits32,
            set: 1,
            sse: true,
            avx: true,
        },
        bmi2: true,
        checked: false,
        unit: 0x100,
        kind: Kind::Usual,
        crosses: None,
        page: 0x5000,
    };
    let params = VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 1_000_000,
    };
    let model = cpuid::model("host").expect("the model");
    let context = Context {
        code: size,
        available: Available::new(&cpuid::table(model, &HostCpuid::read(), &params)),
    };
    listing(frame, BASE, code, context, 0x4100)
}

/// Bytes after `code:` or `code32:`.
fn code(text: &str) -> (CodeSize, Vec<u8>) {
    let after = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let (size, line) = match after("code32: ") {
        Some(line) => (CodeSize::Bits32, line),
        None => (CodeSize::Bits64, after("code: ").expect("a line of code")),
    };
    let byte = |word| u8::from_str_radix(word, 16).expect("a byte");
    (size, line.split(' ').map(byte).collect())
}

#[test]
fn golden_translations_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/translate/golden");
    let write = env::var("GOLDEN").is_ok_and(|word| word == "write");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    let mut changed = String::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a text");
        let head: Vec<&str> = text.lines().take(2).collect();
        let (size, code) = code(&text);
        let listing = translated(size, &code).expect("a translation");
        let wanted = format!("{}\n\n{listing}", head.join("\n"));
        if wanted == text {
            continue;
        }
        if write {
            fs::write(&file, wanted).expect("a writable file");
        } else {
            let _ = writeln!(changed, "{}:\n{wanted}", file.display());
        }
    }
    assert!(
        changed.is_empty(),
        "GOLDEN=write keeps what changed:\n{changed}"
    );
}
