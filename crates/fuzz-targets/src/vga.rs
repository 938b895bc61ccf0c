//! A VGA: any access to ports, window, frame buffer and registers, drawn now and then, saved and
//! restored; and what is drawn, as RFB clients have it.

use std::sync::{Arc, Mutex, PoisonError};

use devices::pci::PciFunction;
use devices::testing::FakeClock;
use devices::vga::{Screen, SharedVga, Vga, VgaFunction, WINDOW_LEN};
use display::{PixelFormat, Rect};
use memory::{Gpa, GuestMemory, RamRange};

use crate::Input;
use crate::devices::forge;

const MEMORY: u64 = 1 << 20;

struct Subject {
    vga: SharedVga,
    function: VgaFunction,
    screen: Screen,
    clock: Arc<FakeClock>,
}

fn subject() -> Subject {
    let ram = RamRange {
        base: Gpa(0),
        len: 4096,
    };
    let guest = GuestMemory::new(&[ram]).expect("memory");
    let vram = guest.add_device_memory(MEMORY).expect("memory");
    let clock = FakeClock::at_wall(0);
    let vga = Vga::new(vram, Arc::clone(&clock) as _, (1024, 768));
    let vga = Arc::new(Mutex::new(vga));
    let rom = vec![0x55, 0xaa, 1];
    Subject {
        function: VgaFunction::new(Arc::clone(&vga), rom).expect("a ROM"),
        screen: Screen::new(Arc::clone(&vga)),
        vga,
        clock,
    }
}

/// A client sees no more of a picture than there is.
fn look(screen: &Screen, input: &mut Input<'_>) {
    let part = Rect {
        x: input.u16().into(),
        y: input.u16().into(),
        width: u32::from(input.u16()) % 300,
        height: u32::from(input.u16()) % 300,
    };
    let format = PixelFormat {
        bits: input.byte(),
        depth: input.byte(),
        big_endian: input.byte() & 1 != 0,
        max: [input.u16(), 255, 255],
        shift: [input.byte(), 8, 0],
    };
    let format = format.checked().unwrap_or(PixelFormat::NATIVE);
    screen.look(|it| {
        let inside = it.clip(part);
        let pixels = inside.width as usize * inside.height as usize;
        assert_eq!(
            display::raw(it, part, format).len(),
            pixels * format.bytes()
        );
        let _ = display::zrle(it, part, format);
        let _ = display::tight(it, part, format);
        let area = |rect: &Rect| u64::from(rect.width) * u64::from(rect.height);
        let changed: u64 = it.changed_since(0).iter().map(area).sum();
        assert_eq!(changed, u64::from(it.width()) * u64::from(it.height()));
    });
}

/// What comes first decides what is done, once after the other.
pub(crate) fn vga(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut it = subject();
    let lock = |vga: &SharedVga| Arc::clone(vga);
    while !input.is_empty() {
        let what = input.byte();
        let size = 1 << (what >> 6 & 3);
        let vga = lock(&it.vga);
        let own = || vga.lock().unwrap_or_else(PoisonError::into_inner);
        match what & 15 {
            0..=3 => own().write_port(0x3b0 + u16::from(input.byte()) % 0x30, size, input.number()),
            4 => own().write_port(0x1ce + u16::from(input.byte()) % 3, size, input.number()),
            5 => drop(own().read_port(0x3b0 + u16::from(input.byte()) % 0x30, size)),
            6 | 7 => {
                let offset = input.number() % WINDOW_LEN;
                own().write_window(offset, size, input.number());
            }
            8 => drop(own().read_window(input.number() % WINDOW_LEN, size)),
            9 => {
                // As firmware does: a register and its value.
                let (port, index) = (input.byte(), input.byte());
                let port = [0x3c4, 0x3ce, 0x3d4, 0x1ce][usize::from(port & 3)];
                own().write_port(port, 2, index.into());
                own().write_port(port + 1, 2, input.number());
            }
            10 => {
                let (bar, offset) = (input.byte() % 8, input.number());
                it.function
                    .bar_write(bar, offset % 0x1000, size, input.number());
            }
            11 => drop(
                it.function
                    .bar_read(input.byte() % 8, input.number() % 0x1000, size),
            ),
            12 => it.clock.set(input.number()),
            13 => round_trip(&mut it.function, &mut input),
            14 if what & 0x30 == 0 => it.function.reset(),
            _ => look(&it.screen, &mut input),
        }
    }
    look(&it.screen, &mut input);
}

fn round_trip(function: &mut VgaFunction, input: &mut Input<'_>) {
    let saved = function.save();
    let mut forged = saved.clone();
    forge(&mut forged.bytes, input);
    if function.restore(&forged).is_err() {
        assert_eq!(function.save(), saved, "a refused state left something");
    }
}

/// Text, planes, and a linear mode: registers first, then something to see.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let register = |which: u8, index: u8, value: u8| vec![9, which, index, 1, value];
    let linear = [(1, 64), (2, 48), (3, 32), (4, 0x41)];
    let linear = linear
        .map(|(index, value)| register(3, index, value))
        .concat();
    let shown = [
        vec![0, 0x10, 1, 0x20],
        register(2, 1, 79),
        register(2, 0x12, 255),
    ]
    .concat();
    let graphics = [shown.clone(), register(1, 6, 5), register(2, 0x13, 40)].concat();
    vec![linear, shown, graphics]
}
