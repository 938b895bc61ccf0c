//! What must be equal, and a report of what is not.

use crate::case::{CODE, Case, DATA, Outcome, PAGE, WINDOW, WINDOW_PAGES};

/// Resume flag: the kernel and the CPU set it in ways that tell nothing.
const RF: u64 = 1 << 16;

/// Differences between the interpreter's outcome and the silicon's, one a line.
pub(crate) fn differences(case: &Case, ours: &Outcome, silicon: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: String, ours: u64, silicon: u64| {
        if ours != silicon {
            found.push(format!(
                "{what}: interpreter {ours:#x}, silicon {silicon:#x}"
            ));
        }
    };
    let faults = |vector: u8| matches!(vector, 13 | 14);
    let both_fault = case.loose_fault && faults(ours.vector) && faults(silicon.vector);
    if !both_fault {
        check("vector".into(), ours.vector.into(), silicon.vector.into());
    }
    // Error codes and CR2 that Linux hands on are the processor's for these two.
    if matches!(silicon.vector, 13 | 14) {
        // Elsewhere guest and host have different supervisor pages.
        let known = silicon.vector == 13
            || (CODE..CODE + 0x3000).contains(&silicon.cr2)
            || (WINDOW..WINDOW + WINDOW_PAGES * PAGE as u64).contains(&silicon.cr2);
        let hidden = if case.loose_fault {
            u64::MAX
        } else {
            u64::from(!known)
        };
        check(
            "error code".into(),
            ours.error_code | hidden,
            silicon.error_code | hidden,
        );
    }
    // Of an operand longer than a register the processor reports any byte of the page, and it may
    // have stored the part before the page.
    let long_fault = silicon.vector == 14 && case.long_operand;
    if case.loose_fault {
        // Neither is known.
    } else if long_fault {
        check("cr2's page".into(), ours.cr2 >> 12, silicon.cr2 >> 12);
    } else if silicon.vector == 14 {
        check("cr2".into(), ours.cr2, silicon.cr2);
    }
    let (a, b) = (&ours.registers, &silicon.registers);
    check("rip".into(), a.rip, b.rip);
    let ignored = RF
        | if silicon.vector == 3 {
            case.undefined_flags
        } else {
            0
        };
    check("rflags".into(), a.rflags & !ignored, b.rflags & !ignored);
    // Outside 64-bit mode the upper halves, and the registers that cannot be named, mean nothing.
    let mask = case.width.mask();
    for n in 0..case.width.registers() as usize {
        check(format!("gpr{n}"), a.gpr[n] & mask, b.gpr[n] & mask);
    }
    let (a, b) = (&a.fpu, &b.fpu);
    check("mxcsr".into(), a.mxcsr.into(), b.mxcsr.into());
    check("fcw".into(), a.control.into(), b.control.into());
    check("fsw".into(), a.status.into(), b.status.into());
    check("ftw".into(), a.tag.into(), b.tag.into());
    // Loaded from memory, its upper bits become the sign of the highest the processor has.
    let low = u64::MAX >> 16;
    let (ours_at, silicon_at) = (a.instruction_pointer, b.instruction_pointer);
    // AMD's processors keep both to themselves while no exception is pending.
    if silicon_at != 0 || b.data_pointer != 0 {
        check("fip".into(), ours_at & low, silicon_at & low);
        check("fdp".into(), a.data_pointer, b.data_pointer);
    }
    for n in 0..8 {
        if a.st[n][..10] != b.st[n][..10] {
            found.push(format!(
                "st{n}: {} / {}",
                hex(&a.st[n][..10]),
                hex(&b.st[n][..10])
            ));
        }
    }
    for n in 0..16 {
        if a.ymm[n] != b.ymm[n] {
            found.push(format!("ymm{n}: {} / {}", hex(&a.ymm[n]), hex(&b.ymm[n])));
        }
    }
    let differ = |at: &usize| ours.data[*at] != silicon.data[*at] && !long_fault;
    for at in (0..ours.data.len()).filter(differ).take(8) {
        found.push(format!(
            "byte at {:#x}: {:#x} / {:#x}, was {:#x}",
            DATA + at as u64,
            ours.data[at],
            silicon.data[at],
            case.data[at]
        ));
    }
    found
}

/// Most significant byte first.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
