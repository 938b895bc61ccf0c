//! Guest tests: assembly files that say in their header what goes in and what comes out.
//!
//! ```text
//! ; mode:    long64
//! ; in:      rax=0x7fffffffffffffff rbx=1
//! ; out:     rax=0x8000000000000000 flags=OF,SF,AF,PF
//!     add rax, rbx
//!     hlt
//! ```
//!
//! * `mode` is `real16`, `protected32` or `long64`: flat, at address 8000h, interrupts off, the stack
//!   below 10000h. NASM sees the names in the `prelude` function.
//! * `in` and `out` set and compare registers (`rax`, `xmm0`, `ymm0`, `cr0`..`cr4`, `efer`, `rip`) and
//!   memory (`mem32[0x20000]`). Registers that `out` does not name are not compared.
//! * `flags` in `out` names the status flags that are set; all others of the six must be clear, but
//!   for those in `ignore`. Without `flags` none is compared.
//! * `trap` in `out` says that the guest ends in this exception (`trap=GP`), with `error` pushed and
//!   at `at`, the address of the instruction. Otherwise it ends with HLT and may not trap.
//! * `needs` names CPUID features, as `/proc/cpuinfo` does, without which the test is skipped.
//! * `engines` names the engines to run on; without it, all.
//! * Anything else after a semicolon is a comment. `in` and `out` may come on several lines.
//!
//! The files are in `tests/guests` of the repository.

mod case;
mod run;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use case::Case;

use crate::image::{DATA, MMIO, PT};
use crate::{Make, Report, Verdict};

/// Where the files are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests")
}

/// What each file is assembled behind.
fn prelude(bits: u32) -> String {
    use crate::image::selector as s;
    format!(
        "bits {bits}\norg 0x8000\ndefault rel\n\
         %define DATA {DATA:#x}\n%define MMIO {MMIO:#x}\n%define PT {PT:#x}\n\
         %define CODE64_SEL {}\n%define CODE32_SEL {}\n%define DATA_SEL {}\n\
         %define USER_CODE64_SEL {}\n%define USER_DATA_SEL {}\n%define TSS_SEL {}\n%line 1+1 guest\n",
        s::CODE_64,
        s::CODE_32,
        s::DATA,
        s::USER_CODE_64,
        s::USER_DATA,
        s::TSS
    )
}

/// Assembles with NASM, which needs files that it can seek in: the code, or what it said.
fn assemble(case: &Case, source: &str, stem: &str) -> io::Result<Result<Vec<u8>, String>> {
    let folder = env::temp_dir().join(format!("innkeeper-guests-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let text = folder.join(format!("{stem}.asm"));
    let binary = folder.join(format!("{stem}.bin"));
    fs::write(&text, prelude(case.mode.bits()) + source)?;
    let output = Command::new("nasm")
        .args(["-f", "bin", "-o"])
        .args([&binary, &text])
        .output()?;
    let code = if output.status.success() {
        Ok(fs::read(&binary)?)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    fs::remove_file(&text)?;
    // Not there when NASM found mistakes.
    let _ = fs::remove_file(&binary);
    // Not empty while another thread assembles.
    let _ = fs::remove_dir(&folder);
    Ok(code)
}

fn run_file(make: Make<'_>, engine: &str, path: &Path) -> io::Result<Verdict> {
    let source = fs::read_to_string(path)?;
    let case = match Case::parse(&source) {
        Ok(case) => case,
        Err(why) => return Ok(Verdict::Wrong(why)),
    };
    if !case.engines.is_empty() && !case.engines.iter().any(|name| name == engine) {
        return Ok(Verdict::Skipped(format!("not for {engine}")));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match assemble(&case, &source, &stem)? {
        Ok(code) => Ok(run::run(make, &case, code).into()),
        Err(said) => Ok(Verdict::Wrong(said)),
    }
}

/// Runs all guest tests on engines that `make` makes, which are called `engine`.
///
/// # Errors
/// When the files cannot be read or NASM not be run.
pub fn run_all(make: Make<'_>, engine: &str) -> io::Result<Report> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "asm") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut report = Report::default();
    for path in paths {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        report.verdicts.push((name, run_file(make, engine, &path)?));
    }
    Ok(report)
}
