//! The controller's registers. Spec: AHCI 1.3.1, "HBA Memory Registers".

use super::{Ahci, MOST_PORTS, PORT_LEN, PORTS};

const CAPABILITIES: u64 = 0x00;
const CONTROL: u64 = 0x04;
const INTERRUPTS_PENDING: u64 = 0x08;
const PORTS_THERE: u64 = 0x0c;
const VERSION: u64 = 0x10;

/// 32 slots, AHCI alone, 3 Gbit/s, a list that can be overridden, native queuing, 64-bit addresses.
const CAN: u32 = 31 << 8 | 1 << 18 | 2 << 20 | 1 << 24 | 1 << 30 | 1 << 31;
const VERSION_1_3: u32 = 0x0001_0300;
/// In the control register: reset, which clears itself; interrupts; it is AHCI, which cannot be switched off.
const RESET: u32 = 1 << 0;
pub(super) const INTERRUPTS: u32 = 1 << 1;
const ENABLED: u32 = 1 << 31;

impl Ahci {
    pub(super) fn read_register(&self, offset: u64) -> u32 {
        if let Some((port, at)) = port_of(offset) {
            return self
                .ports
                .get(port)
                .map_or(0, |port| port.state.register(at));
        }
        let count = self.ports.len().max(1) as u32;
        match offset {
            CAPABILITIES => CAN | (count - 1),
            CONTROL => ENABLED | self.global.control,
            INTERRUPTS_PENDING => self.global.interrupts,
            PORTS_THERE => (1u64 << self.ports.len()).wrapping_sub(1) as u32,
            VERSION => VERSION_1_3,
            _ => 0,
        }
    }

    pub(super) fn write_register(&mut self, offset: u64, value: u32) {
        if let Some((port, at)) = port_of(offset) {
            let may = self.may_master();
            if let Some(port) = self.ports.get_mut(port) {
                port.write(at, value, may.then_some(&self.memory));
            }
            self.work();
        } else {
            match offset {
                CONTROL if value & RESET != 0 => self.reset_ports(),
                CONTROL => self.global.control = value & INTERRUPTS,
                INTERRUPTS_PENDING => self.global.interrupts &= !value,
                _ => {}
            }
        }
        self.interrupt();
    }
}

/// The port whose register it is, and which.
fn port_of(offset: u64) -> Option<(usize, u64)> {
    let offset = offset.checked_sub(PORTS)?;
    let port = usize::try_from(offset / PORT_LEN).ok()?;
    (port < MOST_PORTS).then_some((port, offset % PORT_LEN))
}
