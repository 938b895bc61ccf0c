use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use devices::pci::{ConfigSpace, DeviceFunction, Identity, PciFunction};
use devices::virtio::RateGate;
use devices::{DeviceState, RestoreError, Timer};
use memory::GuestMemory;

use super::{Board, BoardParts};
use crate::a20::A20Gate;
use crate::config::{EngineChoice, Reboot};
use crate::control::{MachineControl, MachineLines};
use crate::layout::{MIN_MEMORY, ram_ranges};
use crate::signal::{Signals, VcpuSignal};
use crate::time::{GuestTsc, TscRate};

const PATIENCE: Duration = Duration::from_secs(10);

/// A controller whose disk answers when the test lets it.
#[derive(Debug)]
struct SlowDisk {
    config: ConfigSpace,
    began: Sender<()>,
    answer: Receiver<()>,
}

impl PciFunction for SlowDisk {
    fn kind(&self) -> &'static str {
        "slow-disk"
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, _offset: u16, _size: u8, _value: u32) {}

    fn reset(&mut self) {}

    fn save(&self) -> DeviceState {
        devices::encode_state("slow-disk", 1, &())
    }

    fn restore(&mut self, _state: &DeviceState) -> Result<(), RestoreError> {
        Ok(())
    }

    fn expire(&mut self) {
        self.began.send(()).expect("a listener");
        let _ = self.answer.recv_timeout(PATIENCE);
    }
}

fn board() -> Board {
    let memory = GuestMemory::new(&ram_ranges(MIN_MEMORY)).expect("memory");
    let needs = crate::choice::Needs {
        times: false,
        vcpus: 1,
        speaker: false,
    };
    let chosen = crate::choice::choose(EngineChoice::Interpreter, &memory, needs);
    let signals: Vec<Arc<VcpuSignal>> = vec![Arc::default()];
    let control = MachineControl::default();
    let parts = BoardParts {
        engine: chosen.expect("an engine").engine,
        vcpus: 1,
        physical_bits: 36,
        has_x2apic: true,
        events: Arc::new(Signals(signals)),
        tsc: Arc::new(GuestTsc::new(TscRate::host(), 1)),
        lines: Arc::new(MachineLines {
            control: control.clone(),
            reboot: Reboot::Restart,
            a20: A20Gate::new(memory.clone()),
        }),
        control,
        memory,
    };
    Board::new(&parts).expect("a board")
}

#[test]
fn a_disk_that_takes_its_time_holds_up_no_clock() {
    let mut board = board();
    let ((began, begun), (answer, answered)) = (channel(), channel());
    let (_, work) = board.pace(&RateGate::default());
    let slot = board.plug(None, |_| {
        Ok(SlowDisk {
            config: ConfigSpace::new(&Identity {
                vendor: 0x8086,
                device: 0x2922,
                subsystem_vendor: 0,
                subsystem: 0,
                class: 0x01_06_01,
                revision: 0,
            }),
            began,
            answer: answered,
        })
    });
    board.alarm(&work, DeviceFunction::new(slot.expect("a slot"), 0));
    let tick = board.timer();
    let (ticks, ticked) = channel();
    let report = move |_| ticks.send(()).expect("a listener");
    board.timers.connect(&tick, Arc::new(report));
    board.clock.resume();
    board.clock_changed();
    work.arm(0);
    assert_eq!(begun.recv_timeout(PATIENCE), Ok(()));
    tick.arm(0);
    let in_time = ticked.recv_timeout(PATIENCE / 10);
    answer.send(()).expect("a disk that waits");
    assert_eq!(in_time, Ok(()));
}
