//! Interrupt wires and messages, to whoever has the interrupt controllers.

use std::sync::Arc;

use devices::irqchip::Irqchip;
use devices::pci::SharedLine;
use devices::{Line, MsiSink};
use engine::{Engine, MsiMessage};

/// Inputs of the I/O APIC.
const GSI_COUNT: u32 = 24;

/// All interrupt inputs of the board.
#[derive(Debug, Clone)]
pub(crate) enum Wires {
    Machine(Arc<Irqchip>),
    Engine {
        engine: Arc<dyn Engine>,
        shared: Arc<Vec<Arc<SharedLine>>>,
    },
}

impl Wires {
    pub(crate) fn new(irqchip: Option<Arc<Irqchip>>, engine: &Arc<dyn Engine>) -> Wires {
        if let Some(irqchip) = irqchip {
            return Wires::Machine(irqchip);
        }
        let line = |gsi| {
            let engine = Arc::clone(engine);
            SharedLine::new(Arc::new(EngineLine { engine, gsi }))
        };
        Wires::Engine {
            engine: Arc::clone(engine),
            shared: Arc::new((0..GSI_COUNT).map(line).collect()),
        }
    }

    /// One device's end of an ISA interrupt, 0 to 15. Several devices may have the same.
    pub(crate) fn line(&self, irq: u8) -> Arc<dyn Line> {
        match self {
            Wires::Machine(irqchip) => irqchip.line(irq),
            // The array is as long as the engine's I/O APIC has inputs; ISA has fewer.
            Wires::Engine { shared, .. } => shared[usize::from(irq) % shared.len().max(1)].input(),
        }
    }

    /// Where devices send their messages.
    pub(crate) fn msi(&self) -> Arc<dyn MsiSink> {
        match self {
            Wires::Machine(irqchip) => irqchip.msi(),
            Wires::Engine { engine, .. } => Arc::new(EngineMsi {
                engine: Arc::clone(engine),
            }),
        }
    }
}

#[derive(Debug)]
struct EngineLine {
    engine: Arc<dyn Engine>,
    gsi: u32,
}

impl Line for EngineLine {
    fn set(&self, high: bool) {
        // The engine has all 24 inputs; it cannot refuse one of them.
        let _ = self.engine.set_gsi(self.gsi, high);
    }
}

#[derive(Debug)]
struct EngineMsi {
    engine: Arc<dyn Engine>,
}

impl MsiSink for EngineMsi {
    fn send(&self, address: u64, data: u32) {
        // What is refused is a message that the guest composed wrongly: it is lost, as on a board.
        let _ = self.engine.send_msi(MsiMessage { address, data });
    }
}
