//! Flags that the manuals leave undefined, as this host's processor sets them: from the operands alone, or keeping
//! what was there. Translated code must do as the interpreter does, which executes the instruction after
//! loading all flags; so where they are kept the guest's must be in EFLAGS before. Intel's processors keep
//! none; AMD's keep SF, ZF, AF and PF at multiplications, and OF where trailing zeros are counted.

use std::arch::asm;
use std::sync::OnceLock;

use iced_x86::Mnemonic;

/// Which families keep some.
#[derive(Debug, Clone, Copy)]
struct Keeps {
    multiplication: bool,
    counting: bool,
}

/// Does the instruction keep some of the flags that it leaves undefined?
pub(super) fn keeps(mnemonic: Mnemonic) -> bool {
    static KEEPS: OnceLock<Keeps> = OnceLock::new();
    let keeps = || *KEEPS.get_or_init(probe);
    match mnemonic {
        Mnemonic::Mul | Mnemonic::Imul => keeps().multiplication,
        Mnemonic::Tzcnt | Mnemonic::Lzcnt => keeps().counting,
        _ => false,
    }
}

macro_rules! differs {
    ($text:literal) => {
        [1u64, 6, u64::MAX, 1 << 63].into_iter().any(|operand| {
            let after = [0u16, 0xd501].map(|before| {
                let mut status = before;
                // SAFETY: register arithmetic only; RAX carries the flags in and out.
                unsafe {
                    asm!(
                        "add al, 0x7f",
                        "sahf",
                        $text,
                        "lahf",
                        "seto al",
                        a = inout(reg) operand => _,
                        inout("ax") status,
                        options(pure, nomem, nostack)
                    );
                }
                status & 0xd501
            });
            after[0] != after[1]
        })
    };
}

fn probe() -> Keeps {
    // Where there is no TZCNT or LZCNT the bytes are BSF's or BSR's, which keep flags as well.
    Keeps {
        multiplication: differs!("imul {a}, {a}, 34"),
        counting: differs!("tzcnt {a}, {a}") || differs!("lzcnt {a}, {a}"),
    }
}
