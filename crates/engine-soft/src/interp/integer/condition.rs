//! The sixteen conditions of Jcc, SETcc and CMOVcc, by the encoding's own number.
//! Spec: Intel SDM Vol. 1, "Condition Codes".

use iced_x86::{ConditionCode, Instruction};

/// Is condition `CC` true of the status flags (AX after `lahf; seto al`)?
#[inline(always)]
pub(crate) fn holds<const CC: u8>(status: u16) -> bool {
    const CF: u16 = 0x100;
    const PF: u16 = 0x400;
    const ZF: u16 = 0x4000;
    const SF: u16 = 0x8000;
    let less = (status >> 15 ^ status) & 1 != 0;
    let yes = match CC >> 1 {
        0 => status & 1 != 0,
        1 => status & CF != 0,
        2 => status & ZF != 0,
        3 => status & (CF | ZF) != 0,
        4 => status & SF != 0,
        5 => status & PF != 0,
        6 => less,
        _ => less || status & ZF != 0,
    };
    yes != (CC & 1 != 0)
}

/// The encoding's number of the instruction's condition.
pub(crate) fn number(insn: &Instruction) -> Option<u8> {
    Some(match insn.condition_code() {
        ConditionCode::None => return None,
        ConditionCode::o => 0,
        ConditionCode::no => 1,
        ConditionCode::b => 2,
        ConditionCode::ae => 3,
        ConditionCode::e => 4,
        ConditionCode::ne => 5,
        ConditionCode::be => 6,
        ConditionCode::a => 7,
        ConditionCode::s => 8,
        ConditionCode::ns => 9,
        ConditionCode::p => 10,
        ConditionCode::np => 11,
        ConditionCode::l => 12,
        ConditionCode::ge => 13,
        ConditionCode::le => 14,
        ConditionCode::g => 15,
    })
}

/// `$f::<CC $(, T)?>` for a condition number known at run time.
macro_rules! by_condition {
    ($number:expr, $f:ident $(, $t:ty)*) => {
        match $number {
            0 => $f::<0 $(, $t)*>,
            1 => $f::<1 $(, $t)*>,
            2 => $f::<2 $(, $t)*>,
            3 => $f::<3 $(, $t)*>,
            4 => $f::<4 $(, $t)*>,
            5 => $f::<5 $(, $t)*>,
            6 => $f::<6 $(, $t)*>,
            7 => $f::<7 $(, $t)*>,
            8 => $f::<8 $(, $t)*>,
            9 => $f::<9 $(, $t)*>,
            10 => $f::<10 $(, $t)*>,
            11 => $f::<11 $(, $t)*>,
            12 => $f::<12 $(, $t)*>,
            13 => $f::<13 $(, $t)*>,
            14 => $f::<14 $(, $t)*>,
            _ => $f::<15 $(, $t)*>,
        }
    };
}
pub(crate) use by_condition;
