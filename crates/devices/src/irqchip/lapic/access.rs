//! How a guest reaches the registers: the xAPIC page, the x2APIC MSRs, IA32_APIC_BASE and
//! IA32_TSC_DEADLINE.
//!
//! Spec: Intel SDM Vol. 3, "Register Address Space" (x2APIC), "Reserved Bit Checking",
//! "x2APIC State Transitions".

use super::{
    BASE_BSP, BASE_ENABLED, BASE_X2APIC, Effect, FIRST_VECTOR, GeneralProtection, Lapic, Message,
    TimerMode, error, reg,
};
use crate::irqchip::message::DeliveryMode;
use crate::ports::all_ones;

/// Delivery status: a message is gone the moment it is sent.
const ICR_BUSY: u32 = 1 << 12;

/// How a register may be used through its MSR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    None,
    ReadOnly,
    WriteOnly,
    /// With the bits that must be written as zero.
    Both(u32),
}

fn x2apic_access(register: usize) -> Access {
    match register {
        reg::ID | reg::VERSION | reg::PPR | reg::LDR | reg::CURRENT_COUNT => Access::ReadOnly,
        reg::ISR..=0x27 => Access::ReadOnly,
        reg::EOI | reg::SELF_IPI => Access::WriteOnly,
        reg::TPR => Access::Both(!0xff),
        reg::SVR => Access::Both(!0x13ff),
        reg::ESR => Access::Both(!0),
        // Bit 12, the delivery status, is forgiven: AMD's manual allows it.
        reg::ICR => Access::Both(0xfff3_2000),
        // Delivery status and remote IRR are read-only, not reserved.
        reg::LVT_TIMER..=reg::LVT_ERROR => {
            Access::Both(!(reg::lvt_writable(register) | 1 << 12 | reg::LVT_REMOTE_IRR))
        }
        reg::INITIAL_COUNT => Access::Both(0),
        reg::DIVIDE => Access::Both(!0xb),
        _ => Access::None,
    }
}

/// Does the xAPIC page have this register? Arbitration priority and remote read are gone since the
/// Pentium 4, but reading them is harmless there.
fn in_page(register: usize) -> bool {
    x2apic_access(register) != Access::None && register != reg::SELF_IPI
        || matches!(register, 0x09 | 0x0c | reg::DFR | reg::ICR_HIGH)
}

impl Lapic {
    /// Reads the register page. Part of a register may be read; nothing may cross its 32 bits.
    pub(in super::super) fn read_page(&mut self, offset: u64, size: u8) -> u64 {
        let at = offset & 0xfff;
        if (at & 0xf) + u64::from(size) > 4 {
            return all_ones(size);
        }
        let register = usize::try_from(at >> 4).unwrap_or(0);
        if !in_page(register) {
            self.raise_error(error::ILLEGAL_REGISTER);
            return 0;
        }
        let value = u64::from(self.read_register(register));
        value >> (8 * (at & 0xf)) & all_ones(size)
    }

    /// Writes the register page: 32 bits at a multiple of 16, or nothing happens.
    pub(in super::super) fn write_page(
        &mut self,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Option<Effect> {
        let at = offset & 0xfff;
        if at & 0xf != 0 || size != 4 {
            return None;
        }
        let register = usize::try_from(at >> 4).unwrap_or(0);
        let [a, b, c, d, ..] = value.to_le_bytes();
        let value = u32::from_le_bytes([a, b, c, d]);
        match register {
            reg::ID => self.registers.set(reg::ID, value & 0xff00_0000),
            reg::LDR => self.registers.set(reg::LDR, value & 0xff00_0000),
            reg::DFR => self.registers.set(reg::DFR, value | 0x0fff_ffff),
            reg::ICR_HIGH => self.registers.set(reg::ICR_HIGH, value & 0xff00_0000),
            reg::ICR => {
                let target = self.registers.get(reg::ICR_HIGH) >> 24;
                return self.command(value, target);
            }
            _ if !in_page(register) => self.raise_error(error::ILLEGAL_REGISTER),
            _ => return self.write_register(register, value),
        }
        None
    }

    /// RDMSR of the APIC's MSRs.
    pub(in super::super) fn read_msr(&mut self, index: u32) -> Result<u64, GeneralProtection> {
        match index {
            x86::msr::APIC_BASE => return Ok(self.base),
            x86::msr::TSC_DEADLINE => {
                self.sync_timer();
                return Ok(self.timer.tsc_deadline());
            }
            _ => {}
        }
        let register = self.x2apic_register(index)?;
        match x2apic_access(register) {
            Access::None | Access::WriteOnly => Err(GeneralProtection),
            _ if register == reg::ICR => Ok(u64::from(self.registers.get(reg::ICR_HIGH)) << 32
                | u64::from(self.registers.get(reg::ICR))),
            _ => Ok(u64::from(self.read_register(register))),
        }
    }

    /// WRMSR of the APIC's MSRs.
    pub(in super::super) fn write_msr(
        &mut self,
        index: u32,
        value: u64,
    ) -> Result<Option<Effect>, GeneralProtection> {
        match index {
            x86::msr::APIC_BASE => return self.write_base(value).map(|()| None),
            x86::msr::TSC_DEADLINE => {
                self.sync_timer();
                self.timer.set_tsc_deadline(value);
                self.sync_timer();
                return Ok(None);
            }
            _ => {}
        }
        let register = self.x2apic_register(index)?;
        let (low, high) = halves(value);
        if high != 0 && register != reg::ICR {
            return Err(GeneralProtection);
        }
        match (register, x2apic_access(register)) {
            (_, Access::None | Access::ReadOnly) => Err(GeneralProtection),
            (reg::EOI, _) if low != 0 => Err(GeneralProtection),
            (reg::SELF_IPI, _) if low > 0xff => Err(GeneralProtection),
            (_, Access::Both(reserved)) if low & reserved != 0 => Err(GeneralProtection),
            (reg::ICR, _) => {
                self.registers.set(reg::ICR_HIGH, high);
                Ok(self.command(low, high))
            }
            // A self IPI is a fixed one with the shorthand for self.
            (reg::SELF_IPI, _) => Ok(self.send(1 << 18 | low, 0)),
            _ => Ok(self.write_register(register, low)),
        }
    }

    fn x2apic_register(&self, index: u32) -> Result<usize, GeneralProtection> {
        let register = index
            .checked_sub(x86::msr::X2APIC_FIRST)
            .filter(|_| self.enabled() && self.x2apic())
            .ok_or(GeneralProtection)?;
        usize::try_from(register).map_err(|_| GeneralProtection)
    }

    pub(super) fn base_reserved(&self) -> u64 {
        let modes = if self.has_x2apic {
            BASE_X2APIC | BASE_ENABLED
        } else {
            BASE_ENABLED
        };
        !(self.page_bits() | BASE_BSP | modes)
    }

    fn write_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        const MODE: u64 = BASE_ENABLED | BASE_X2APIC;
        if value & self.base_reserved() != 0 {
            return Err(GeneralProtection);
        }
        let (old, new) = (self.base & MODE, value & MODE);
        if matches!(
            (old, new),
            (_, BASE_X2APIC) | (MODE, BASE_ENABLED) | (0, MODE)
        ) {
            return Err(GeneralProtection);
        }
        // Which processor booted is not the guest's to say.
        self.base = value & !BASE_BSP | self.base & BASE_BSP;
        if old != new && new == 0 {
            // An APIC that is switched off forgets everything.
            self.init();
            self.identify();
        } else if old != new {
            self.identify();
            self.registers.set(reg::ICR_HIGH, 0);
        }
        self.update();
        Ok(())
    }

    fn read_register(&mut self, register: usize) -> u32 {
        self.sync_timer();
        match register {
            reg::PPR => u32::from(self.processor_priority()),
            reg::INITIAL_COUNT => self.timer.initial(),
            reg::CURRENT_COUNT => self.timer.current(),
            reg::EOI | reg::HIDDEN => 0,
            _ => self.registers.get(register),
        }
    }

    /// What page and MSRs have in common. Read-only registers are not changed.
    fn write_register(&mut self, register: usize, value: u32) -> Option<Effect> {
        self.sync_timer();
        match register {
            reg::TPR => self.set_task_priority(value.to_le_bytes()[0]),
            reg::EOI => return self.end_of_interrupt(),
            reg::SVR => self.write_svr(value),
            // Writing latches what has happened since the last write.
            reg::ESR => {
                self.registers.set(reg::ESR, self.errors);
                self.errors = 0;
            }
            reg::LVT_TIMER..=reg::LVT_ERROR => self.write_lvt(register, value),
            reg::INITIAL_COUNT => self.timer.set_initial(value),
            reg::DIVIDE => {
                self.registers.set(reg::DIVIDE, value & 0xb);
                self.timer.set_divide(value);
            }
            _ => {}
        }
        None
    }

    fn write_svr(&mut self, value: u32) {
        self.registers.set(reg::SVR, value & 0x13ff);
        if value & reg::SVR_ENABLED == 0 {
            for entry in reg::LVT_TIMER..=reg::LVT_ERROR {
                let masked = self.registers.get(entry) | reg::LVT_MASKED;
                self.registers.set(entry, masked);
            }
        }
        self.update();
    }

    fn write_lvt(&mut self, entry: usize, value: u32) {
        let writable = reg::lvt_writable(entry);
        let mut new = self.registers.get(entry) & !writable | value & writable;
        if self.registers.get(reg::SVR) & reg::SVR_ENABLED == 0 {
            new |= reg::LVT_MASKED;
        }
        if new & reg::LVT_LEVEL == 0 {
            new &= !reg::LVT_REMOTE_IRR;
        }
        self.registers.set(entry, new);
        match entry {
            reg::LVT_TIMER => self.timer.set_mode(TimerMode::from_lvt(new)),
            reg::LVT_LINT0 => self.retry_lint0(),
            _ => {}
        }
        self.update();
    }

    /// A write of the interrupt command register.
    fn command(&mut self, command: u32, target: u32) -> Option<Effect> {
        self.registers.set(reg::ICR, command & !ICR_BUSY);
        self.send(command, target)
    }

    fn send(&mut self, command: u32, target: u32) -> Option<Effect> {
        let message = Message::from_icr(command, target, self.x2apic(), self.cpu)?;
        let carries_vector = matches!(
            message.mode,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority
        );
        if carries_vector && message.vector < FIRST_VECTOR {
            self.raise_error(error::SEND_ILLEGAL_VECTOR);
            return None;
        }
        Some(Effect::Send(message))
    }
}

fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}
