//! The devices of a PC, wired to stand-ins of the machine: what the device targets act on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use devices::acpi_cpus::{AcpiCpus, AcpiCpusParts};
use devices::acpi_pm::{AcpiPm, AcpiPmParts, TimerWidth};
use devices::i8042::{I8042, MouseEvent};
use devices::irqchip::testing::FakeTsc;
use devices::irqchip::{IoApic, Irqchip, LapicParts, Pic, VcpuEvents};
use devices::isa_dma::IsaDma;
use devices::parallel::{Paper, Parallel};
use devices::port92::Port92;
use devices::serial::Serial;
use devices::testing::{FakeClock, FakeLine, FakeLines, FakeTimer};
use devices::timers::pit::Pit;
use devices::timers::rtc::{Rtc, RtcMemory};
use devices::{Device, DeviceState, Line, MsiSink, RestoreError};

pub(crate) const VCPUS: u32 = 3;

/// Counts what it is sent, and keeps none of it.
#[derive(Debug, Default)]
pub(crate) struct Nobody(AtomicU64);

impl MsiSink for Nobody {
    fn send(&self, _address: u64, _data: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl VcpuEvents for Nobody {
    fn interrupt_pending(&self, _cpu: u32) {}
    fn nmi(&self, _cpu: u32) {}
    fn smi(&self, _cpu: u32) {}
    fn init(&self, _cpu: u32) {}
    fn startup(&self, _cpu: u32, _vector: u8) {}
}

/// A device, and its alarm.
pub(crate) struct Alarmed {
    pub(crate) device: Box<dyn Device>,
    pub(crate) timer: Option<Arc<FakeTimer>>,
}

impl Alarmed {
    fn silent(device: impl Device + 'static) -> Alarmed {
        Alarmed {
            device: Box::new(device),
            timer: None,
        }
    }

    /// Lets the alarm go off if its time has come, as often as the device sets it anew for a time
    /// that has come too.
    pub(crate) fn expire(&mut self, now: u64) {
        const MOST: u32 = 10_000;
        let Some(timer) = self.timer.clone() else {
            return;
        };
        for _ in 0..MOST {
            match timer.deadline() {
                Some(deadline) if deadline <= now => {
                    use devices::Timer;
                    timer.disarm();
                    self.device.expire(now);
                }
                _ => return,
            }
        }
        panic!("{} never stops expiring at {now}", self.device.kind());
    }
}

/// The number of devices that [`device`] makes.
pub(crate) const KINDS: u8 = 15;

/// One device of each kind that has registers of its own.
pub(crate) fn device(kind: u8, clock: &Arc<FakeClock>) -> Alarmed {
    let timer = FakeTimer::new();
    let line = FakeLine::new;
    let device: Box<dyn Device> = match kind % KINDS {
        0 => Box::new(AcpiPm::new(
            TimerWidth::Bits32,
            AcpiPmParts {
                clock: Arc::clone(clock) as _,
                timer: Arc::clone(&timer) as _,
                sci: line(),
                lines: FakeLines::new(),
            },
        )),
        1 => Box::new(FedKeyboard(I8042::new(line(), line(), FakeLines::new()))),
        2 => Box::new(Pit::new(
            Arc::clone(clock) as _,
            Arc::clone(&timer) as _,
            line(),
        )),
        3 => Box::new(Rtc::new(
            RtcMemory::default(),
            Arc::clone(clock) as _,
            Arc::clone(&timer) as _,
            line(),
        )),
        4 => return Alarmed::silent(Port92::new(FakeLines::new())),
        5 => return Alarmed::silent(FedSerial(Serial::new(line(), Box::new(io::sink())))),
        6 => return Alarmed::silent(IoApic::new(Arc::new(Nobody::default()))),
        7 => return Alarmed::silent(Pic::new(line())),
        8 => {
            let presence = (0..VCPUS).map(|_| FakeLine::new() as Arc<dyn Line>);
            let parts = AcpiCpusParts {
                presence: presence.collect(),
                event: line(),
            };
            return Alarmed::silent(AcpiCpus::new(2, parts));
        }
        9 => return Alarmed::silent(IsaDma::new()),
        10 => return Alarmed::silent(crate::pc::floppy()),
        11 => return Alarmed::silent(crate::pc::flash()),
        12 => return Alarmed::silent(crate::pci::function_ports()),
        13 => return Alarmed::silent(Parallel::new(line(), Paper::none())),
        _ => Box::new(crate::sound::sound_blaster(clock, &timer).1),
    };
    Alarmed {
        device,
        timer: Some(timer),
    }
}

/// All interrupt controllers, wired to each other, and the alarms of the local APICs.
pub(crate) fn irqchip(clock: &Arc<FakeClock>) -> (Irqchip, Vec<Arc<FakeTimer>>) {
    let timers: Vec<Arc<FakeTimer>> = (0..VCPUS).map(|_| FakeTimer::new()).collect();
    let parts = timers.iter().map(|timer| LapicParts {
        clock: Arc::clone(clock) as _,
        timer: Arc::clone(timer) as _,
        tsc: Arc::new(FakeTsc),
        events: Arc::new(Nobody::default()),
        physical_bits: 46,
        has_x2apic: true,
    });
    (Irqchip::new(parts.collect()), timers)
}

/// Where a write is not the guest's but the world's.
const WORLD: u64 = 0x10;

/// A device that also has something to do with the world outside.
macro_rules! fed {
    ($name:ident, $inner:ty, $feed:expr) => {
        #[derive(Debug)]
        struct $name($inner);

        impl Device for $name {
            fn kind(&self) -> &'static str {
                self.0.kind()
            }

            fn read(&mut self, offset: u64, size: u8) -> u64 {
                self.0.read(offset, size)
            }

            fn write(&mut self, offset: u64, size: u8, value: u64) {
                if offset == WORLD {
                    $feed(&mut self.0, value);
                } else {
                    self.0.write(offset, size, value);
                }
            }

            fn reset(&mut self) {
                self.0.reset();
            }

            fn save(&self) -> DeviceState {
                self.0.save()
            }

            fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
                self.0.restore(state)
            }

            fn expire(&mut self, now: u64) {
                self.0.expire(now);
            }
        }
    };
}

fed!(FedKeyboard, I8042, |device: &mut I8042, value: u64| {
    let [a, b, c, buttons, ..] = value.to_le_bytes();
    device.key(&[a, b, c]);
    device.mouse(MouseEvent {
        right: i32::from(a) * 100 - 5000,
        down: i32::MIN >> (b & 31),
        wheel: i32::MAX >> (c & 31),
        buttons,
    });
});

fed!(FedSerial, Serial, |device: &mut Serial, value: u64| {
    device.receive(&value.to_le_bytes());
    if value & 1 != 0 {
        device.receive_break();
    }
});
