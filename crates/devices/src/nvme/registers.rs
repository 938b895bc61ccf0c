//! The controller's registers and doorbells. Spec: NVM Express 1.4, "Controller Registers".

use serde::{Deserialize, Serialize};

use super::queues::{CompletionQueue, MOST_ADMIN_ENTRIES, MOST_ENTRIES, PAGE, SubmissionQueue};
use super::{Nvme, PAIRS};

const CAPABILITIES: u64 = 0x00;
const VERSION: u64 = 0x08;
const MASK_SET: u64 = 0x0c;
const MASK_CLEAR: u64 = 0x10;
const CONFIGURATION: u64 = 0x14;
const STATUS: u64 = 0x1c;
const ADMIN_SIZES: u64 = 0x24;
const ADMIN_SUBMISSION: u64 = 0x28;
const ADMIN_COMPLETION: u64 = 0x30;

pub(super) const VERSION_1_4: u32 = 0x0001_0400;
/// Queues lie in one piece.
const CONTIGUOUS: u64 = 1 << 16;
/// How long it may take to be ready: 2 seconds, in halves of one. It takes none.
const TIMEOUT: u64 = 4 << 24;
const NVM_COMMANDS: u64 = 1 << 37;

const ENABLE: u32 = 1 << 0;
/// Command set, page size and arbitration, of which there is one each, and "normal" or "abrupt" shutdown.
const COMMAND_SET: u32 = 0b111 << 4;
const PAGE_SIZE: u32 = 0b1111 << 7;
const SHUTDOWN: u32 = 0b11 << 14;
const WRITABLE: u32 = 0x00ff_fff1;

const READY: u32 = 1 << 0;
const FATAL: u32 = 1 << 1;
const SHUT_DOWN: u32 = 0b10 << 2;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    pub(super) interrupt_mask: u32,
    configuration: u32,
    status: u32,
    admin_sizes: u32,
    admin_submission: u64,
    admin_completion: u64,
}

impl Registers {
    pub(super) fn is_ready(&self) -> bool {
        self.status & (READY | FATAL) == READY
    }

    fn word(&self, at: u64) -> u32 {
        let capabilities = u64::from(MOST_ENTRIES - 1) | CONTIGUOUS | TIMEOUT | NVM_COMMANDS;
        match at {
            CAPABILITIES => low(capabilities),
            4 => high(capabilities),
            VERSION => VERSION_1_4,
            MASK_SET | MASK_CLEAR => self.interrupt_mask,
            CONFIGURATION => self.configuration,
            STATUS => self.status,
            ADMIN_SIZES => self.admin_sizes,
            ADMIN_SUBMISSION => low(self.admin_submission),
            0x2c => high(self.admin_submission),
            ADMIN_COMPLETION => low(self.admin_completion),
            0x34 => high(self.admin_completion),
            _ => 0,
        }
    }

    /// Entries of the admin queues.
    fn sizes(&self) -> (u32, u32) {
        (
            (self.admin_sizes & 0xfff) + 1,
            (self.admin_sizes >> 16 & 0xfff) + 1,
        )
    }
}

// The halves of a register.
fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn put(register: &mut u64, upper: bool, value: u32) {
    let kept = if upper {
        u64::from(low(*register))
    } else {
        *register & !0xffff_ffff
    };
    let shift = if upper { 32 } else { 0 };
    // The lowest bits of an address of a page are not there.
    *register = (kept | u64::from(value) << shift) & !(PAGE - 1);
}

impl Nvme {
    pub(super) fn read_registers(&self, offset: u64, size: u8) -> u64 {
        let word = |at| u64::from(self.state.registers.word(at));
        let shift = 8 * (offset & 3);
        match size {
            8 => word(offset & !7) | word((offset & !7) + 4) << 32,
            4 => word(offset & !3),
            // Registers are read whole; what part of one would be is what its bytes say.
            _ => word(offset & !3) >> shift & ((1 << (8 * u32::from(size))) - 1),
        }
    }

    /// Registers are written as doublewords or quadwords; other sizes do nothing.
    pub(super) fn write_registers(&mut self, offset: u64, size: u8, value: u64) {
        if size < 4 || offset & 3 != 0 {
            return;
        }
        self.write_word(offset, low(value));
        if size == 8 {
            self.write_word(offset + 4, high(value));
        }
    }

    fn write_word(&mut self, at: u64, value: u32) {
        let registers = &mut self.state.registers;
        match at {
            MASK_SET => registers.interrupt_mask |= value,
            MASK_CLEAR => registers.interrupt_mask &= !value,
            CONFIGURATION => self.configure_controller(value & WRITABLE),
            ADMIN_SIZES => registers.admin_sizes = value & 0x0fff_0fff,
            ADMIN_SUBMISSION => put(&mut registers.admin_submission, false, value),
            0x2c => put(&mut registers.admin_submission, true, value),
            ADMIN_COMPLETION => put(&mut registers.admin_completion, false, value),
            0x34 => put(&mut registers.admin_completion, true, value),
            _ => {}
        }
        self.drive_line();
    }

    fn configure_controller(&mut self, value: u32) {
        let before = std::mem::replace(&mut self.state.registers.configuration, value);
        match (before & ENABLE != 0, value & ENABLE != 0) {
            (false, true) => self.enable(),
            (true, false) => {
                self.state.registers.status = 0;
                self.state.registers.interrupt_mask = 0;
                self.forget();
            }
            _ => {}
        }
        if value & SHUTDOWN != 0 && before & SHUTDOWN == 0 {
            // What was written is to last; if it cannot, there is nobody to tell any more.
            let _ = self.disk.flush();
            self.state.registers.status |= SHUT_DOWN;
        }
    }

    fn enable(&mut self) {
        let registers = &mut self.state.registers;
        let (submission, completion) = registers.sizes();
        let known = registers.configuration & (COMMAND_SET | PAGE_SIZE) == 0;
        let fits = |size| (2..=MOST_ADMIN_ENTRIES).contains(&size);
        if !known || !fits(submission) || !fits(completion) {
            registers.status = FATAL;
            return;
        }
        registers.status = READY;
        let bases = (registers.admin_submission, registers.admin_completion);
        self.state.submission[0] = Some(SubmissionQueue::new(bases.0, submission, 0));
        self.state.completion[0] = Some(CompletionQueue::new(bases.1, completion, Some(0)));
    }

    /// A doorbell: `at` is its offset among them.
    pub(super) fn ring(&mut self, at: u64, value: u16) {
        let index = usize::try_from(at / 8).unwrap_or(PAIRS);
        if index >= PAIRS || at & 3 != 0 || !self.state.registers.is_ready() || !self.may_master() {
            return;
        }
        if at & 4 == 0 {
            let Some(queue) = &mut self.state.submission[index] else {
                return;
            };
            if queue.set_tail(value) {
                self.serve(index);
            }
        } else {
            let Some(queue) = &mut self.state.completion[index] else {
                return;
            };
            if queue.set_head(value) {
                // Who waited for room goes on.
                self.serve_all();
            }
        }
        self.drive_line();
    }
}
