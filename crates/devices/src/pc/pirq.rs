//! From PCI's four interrupt wires to the interrupts of ISA, as PIIX3's registers route them.
//! Spec: Intel 82371SB (PIIX3) datasheet, "PIRQRC[A:D]: PIRQx Route Control Registers".

use std::sync::{Arc, Mutex};

use crate::Line;
use crate::pci::SharedLine;
use crate::ports::locked;

/// In a route: the wire goes nowhere.
const OFF: u8 = 1 << 7;
/// Interrupts that a wire can be routed to; others are the board's own.
const ALLOWED: u16 = 0b1101_1110_1111_1000;

#[derive(Debug, Default)]
struct Routes {
    routes: [u8; 4],
    high: [bool; 4],
}

/// The wires and where they go.
#[derive(Debug)]
pub struct PirqRouter {
    state: Mutex<Routes>,
    /// ISA interrupts 0 to 15.
    irqs: Vec<Arc<dyn Line>>,
}

impl PirqRouter {
    /// `irqs` are ends of ISA interrupts 0 to 15. Nothing is routed.
    #[must_use]
    pub fn new(irqs: Vec<Arc<dyn Line>>) -> Arc<PirqRouter> {
        let state = Routes {
            routes: [OFF; 4],
            ..Routes::default()
        };
        Arc::new(PirqRouter {
            state: Mutex::new(state),
            irqs,
        })
    }

    /// The four wires, for devices to share.
    #[must_use]
    pub fn wires(self: &Arc<Self>) -> [Arc<SharedLine>; 4] {
        std::array::from_fn(|index| {
            SharedLine::new(Arc::new(Wire {
                router: Arc::clone(self),
                index,
            }))
        })
    }

    /// As the four registers say.
    pub fn route(&self, routes: [u8; 4]) {
        self.change(|state| state.routes = routes);
    }

    fn change(&self, change: impl FnOnce(&mut Routes)) {
        // Held while the interrupts are driven, so that changes keep their order.
        let mut state = locked(&self.state);
        let before = state.driven();
        change(&mut state);
        let after = state.driven();
        for (irq, line) in self.irqs.iter().enumerate() {
            let bit = 1 << irq;
            if (before ^ after) & bit != 0 {
                line.set(after & bit != 0);
            }
        }
    }
}

impl Routes {
    /// Interrupts that some wire holds high, one bit each.
    fn driven(&self) -> u16 {
        let wires = self.routes.iter().zip(self.high);
        let high = wires.filter(|(route, high)| *high && **route & OFF == 0);
        let irqs = high.map(|(route, _)| 1u16 << (route & 0xf));
        irqs.fold(0, |all, irq| all | irq) & ALLOWED
    }
}

#[derive(Debug)]
struct Wire {
    router: Arc<PirqRouter>,
    index: usize,
}

impl Line for Wire {
    fn set(&self, high: bool) {
        self.router.change(|state| state.high[self.index] = high);
    }
}

#[cfg(test)]
mod tests;
