//! FXSAVE, FXRSTOR, XSAVE, XSAVEOPT and XRSTOR: the whole state to and from memory. Spec: Intel SDM
//! Vol. 1, "FXSAVE and FXRSTOR Instructions" and "Managing State Using the XSAVE Feature Set".

mod fxsave;
pub(crate) mod image;
mod xsave;

use iced_x86::{Instruction, Mnemonic};

use crate::interp::decode::{Context, Lowered};
use crate::interp::op::{Handler, Op};

pub(super) fn lower(insn: &Instruction, context: Context) -> Option<Lowered> {
    let run: Handler = match insn.mnemonic() {
        Mnemonic::Fxsave => fxsave::save::<false>,
        Mnemonic::Fxsave64 => fxsave::save::<true>,
        Mnemonic::Fxrstor => fxsave::restore::<false>,
        Mnemonic::Fxrstor64 => fxsave::restore::<true>,
        Mnemonic::Xsave => xsave::save::<false, false>,
        Mnemonic::Xsave64 => xsave::save::<true, false>,
        Mnemonic::Xsaveopt => xsave::save::<false, true>,
        Mnemonic::Xsaveopt64 => xsave::save::<true, true>,
        Mnemonic::Xrstor => xsave::restore::<false>,
        Mnemonic::Xrstor64 => xsave::restore::<true>,
        _ => return None,
    };
    let op = Op::new(insn, context.code, run);
    if matches!(insn.mnemonic(), Mnemonic::Xrstor | Mnemonic::Xrstor64) {
        // PKRU may change, and with it what the memory of the next instruction allows.
        return Lowered::ending(op);
    }
    Lowered::straight(op)
}

#[cfg(test)]
mod tests;
