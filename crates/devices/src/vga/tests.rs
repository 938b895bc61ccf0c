use std::sync::{Arc, Mutex};

use display::Picture;
use memory::{Gpa, GuestMemory, PAGE_SIZE, RamRange};

use super::*;
use crate::pci::{
    BarKind, ConfigSpace, DeviceFunction, EXPANSION_ROM, PciFunction, PciRoot, PciWindows,
};
use crate::ports::locked;
use crate::testing::FakeClock;

const SMALL: u64 = 1 << 20;

fn memory() -> DeviceMemory {
    let ranges = [RamRange {
        base: Gpa(0),
        len: PAGE_SIZE,
    }];
    let guest = GuestMemory::new(&ranges).unwrap();
    guest.add_device_memory(SMALL).unwrap()
}

fn vga() -> (SharedVga, Screen, Arc<FakeClock>) {
    let clock = FakeClock::at_wall(0);
    let vga = Vga::new(memory(), Arc::clone(&clock) as _, (1024, 768));
    let vga = Arc::new(Mutex::new(vga));
    (Arc::clone(&vga), Screen::new(vga), clock)
}

/// Registers of a mode as a VGA BIOS sets them: miscellaneous output, sequencer, CRTC, graphics,
/// attributes. Spec: IBM VGA Technical Reference, "Video Modes".
struct Mode {
    misc: u8,
    sequencer: [u8; 5],
    crtc: [u8; 25],
    graphics: [u8; 9],
    attribute_mode: u8,
}

const TEXT: Mode = Mode {
    misc: 0x67,
    sequencer: [3, 0, 3, 0, 2],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c,
        0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
    attribute_mode: 0x0c,
};
const PLANAR: Mode = Mode {
    misc: 0xe3,
    sequencer: [3, 1, 0x0f, 0, 6],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c,
        0xdf, 0x28, 0, 0xe7, 0x04, 0xe3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff],
    attribute_mode: 1,
};
const MODE_13H: Mode = Mode {
    misc: 0x63,
    sequencer: [3, 1, 0x0f, 0, 0x0e],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e,
        0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff],
    attribute_mode: 0x41,
};
const CGA: Mode = Mode {
    misc: 0x63,
    sequencer: [3, 9, 3, 0, 2],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e,
        0x8f, 0x14, 0, 0x96, 0xb9, 0xa2, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff],
    attribute_mode: 1,
};

fn out(vga: &SharedVga, port: u16, value: u8) {
    locked(vga).write_port(port, 1, value.into());
}

fn indexed(vga: &SharedVga, port: u16, index: u8, value: u8) {
    out(vga, port, index);
    out(vga, port + 1, value);
}

fn attribute(vga: &SharedVga, index: u8, value: u8) {
    locked(vga).read_port(0x3da, 1);
    out(vga, 0x3c0, index);
    out(vga, 0x3c0, value);
}

fn set(vga: &SharedVga, mode: &Mode) {
    out(vga, 0x3c2, mode.misc);
    (0u8..)
        .zip(mode.sequencer)
        .for_each(|(n, it)| indexed(vga, 0x3c4, n, it));
    indexed(vga, 0x3d4, 0x11, 0);
    (0u8..)
        .zip(mode.crtc)
        .for_each(|(n, it)| indexed(vga, 0x3d4, n, it));
    (0u8..)
        .zip(mode.graphics)
        .for_each(|(n, it)| indexed(vga, 0x3ce, n, it));
    (0..16).for_each(|n| attribute(vga, n, n));
    attribute(vga, 0x10, mode.attribute_mode);
    attribute(vga, 0x12, 0x0f);
    locked(vga).read_port(0x3da, 1);
    out(vga, 0x3c0, 0x20);
    // Colour n has n for red: 4n as a pixel's.
    out(vga, 0x3c8, 0);
    for n in 0..=255 {
        [n & 0x3f, 0, 0]
            .into_iter()
            .for_each(|part| out(vga, 0x3c9, part));
    }
}

/// What red a pixel has, as the DAC was told.
fn colour(picture: &Picture, x: usize, y: u32) -> u32 {
    picture.row(y)[x] >> 18
}

fn write(vga: &SharedVga, offset: u64, bytes: &[u8]) {
    for (n, byte) in (0u64..).zip(bytes) {
        locked(vga).write_window(offset + n, 1, (*byte).into());
    }
}

fn read(vga: &SharedVga, offset: u64) -> u64 {
    locked(vga).read_window(offset, 1)
}

const TEXT_WINDOW: u64 = 0x1_8000;

#[test]
fn text_is_drawn_with_the_font_in_plane_2() {
    let (vga, screen, clock) = vga();
    set(&vga, &TEXT);
    // The font, as the BIOS loads it: planes in a row, plane 2 alone.
    indexed(&vga, 0x3c4, 2, 4);
    indexed(&vga, 0x3c4, 4, 6);
    indexed(&vga, 0x3ce, 5, 0);
    indexed(&vga, 0x3ce, 6, 4);
    write(&vga, 0x41 * 32, &[0x81; 16]);
    write(&vga, 0xc4 * 32, &[0x01; 16]);
    indexed(&vga, 0x3c4, 2, 3);
    indexed(&vga, 0x3c4, 4, 2);
    indexed(&vga, 0x3ce, 5, 0x10);
    indexed(&vga, 0x3ce, 6, 0x0e);
    write(&vga, TEXT_WINDOW, &[0x41, 0x2e, 0xc4, 0x17]);
    assert_eq!(
        [read(&vga, TEXT_WINDOW), read(&vga, TEXT_WINDOW + 1)],
        [0x41, 0x2e]
    );
    clock.set(0);
    screen.look(|it| {
        assert_eq!((it.width(), it.height()), (720, 400));
        let row: Vec<u32> = (0..20).map(|x| colour(it, x, 3)).collect();
        assert_eq!(row[..9], [14, 2, 2, 2, 2, 2, 2, 14, 2]);
        // A character that draws lines goes on in the ninth column.
        assert_eq!(row[9..18], [1, 1, 1, 1, 1, 1, 1, 7, 7]);
    });
}

#[test]
fn the_cursor_blinks_with_the_guests_time() {
    let (vga, screen, clock) = vga();
    set(&vga, &TEXT);
    write(&vga, TEXT_WINDOW, &[0x20, 0x1f]);
    let line = |y| screen.look(|it| (colour(it, 0, y), it.now()));
    assert_eq!(line(13).0, 15);
    assert_eq!(line(12).0, 1);
    let (_, before) = line(13);
    assert_eq!(line(13).1, before, "nothing happened");
    clock.set(300_000_000);
    assert_eq!(line(13).0, 1);
    indexed(&vga, 0x3d4, 0x0a, 0x20);
    clock.set(0);
    assert_eq!(line(13).0, 1, "it is off");
}

#[test]
fn planes_are_written_in_all_four_ways() {
    let (vga, screen, _) = vga();
    set(&vga, &PLANAR);
    let pixels = |y: u32| screen.look(|it| (0..8).map(|x| colour(it, x, y)).collect::<Vec<_>>());
    // Mode 0: set and reset, with a bit mask.
    indexed(&vga, 0x3ce, 0, 0x0a);
    indexed(&vga, 0x3ce, 1, 0x0f);
    indexed(&vga, 0x3ce, 8, 0xf0);
    read(&vga, 0);
    write(&vga, 0, &[0]);
    assert_eq!(pixels(0), [10, 10, 10, 10, 0, 0, 0, 0]);
    // Mode 1: the latches.
    indexed(&vga, 0x3ce, 5, 1);
    read(&vga, 0);
    write(&vga, 80, &[0]);
    assert_eq!(pixels(1), [10, 10, 10, 10, 0, 0, 0, 0]);
    // Mode 2: a colour, exclusive or.
    indexed(&vga, 0x3ce, 5, 2);
    indexed(&vga, 0x3ce, 3, 0x18);
    indexed(&vga, 0x3ce, 8, 0x81);
    read(&vga, 80);
    write(&vga, 80, &[3]);
    assert_eq!(pixels(1), [9, 10, 10, 10, 0, 0, 0, 3]);
    // Mode 3: bits of the byte, turned by one; one plane stays.
    indexed(&vga, 0x3ce, 5, 3);
    indexed(&vga, 0x3ce, 3, 0x01);
    indexed(&vga, 0x3ce, 8, 0xff);
    indexed(&vga, 0x3c4, 2, 0x07);
    read(&vga, 80);
    write(&vga, 80, &[0x81]);
    assert_eq!(pixels(1), [10, 10, 10, 10, 0, 0, 0, 3]);
    // Reads: a plane, and where a colour is.
    indexed(&vga, 0x3ce, 4, 1);
    assert_eq!(read(&vga, 80), 0xf1);
    indexed(&vga, 0x3ce, 5, 8);
    indexed(&vga, 0x3ce, 2, 0x0a);
    assert_eq!(read(&vga, 80), 0xf0);
}

#[test]
fn bytes_are_pixels_in_mode_13h_and_in_mode_x() {
    let (vga, screen, _) = vga();
    set(&vga, &MODE_13H);
    write(&vga, 320 + 5, &[33]);
    screen.look(|it| {
        assert_eq!((it.width(), it.height()), (640, 400));
        let corners = [(10, 2), (11, 3), (9, 2), (12, 3), (10, 4)];
        let found = corners.map(|(x, y)| colour(it, x, y));
        assert_eq!(found, [33, 33, 0, 0, 0]);
    });
    // Mode X: not chained; pixel 5 of a row is in plane 1.
    indexed(&vga, 0x3c4, 4, 6);
    indexed(&vga, 0x3c4, 2, 1 << 1);
    write(&vga, 80 * 2 + 1, &[44]);
    screen.look(|it| assert_eq!(colour(it, 10, 4), 44));
    // From a page further on.
    indexed(&vga, 0x3d4, 0x0d, 80);
    screen.look(|it| assert_eq!(colour(it, 10, 2), 44));
}

#[test]
fn pairs_of_bits_lie_in_two_halves() {
    let (vga, screen, _) = vga();
    set(&vga, &CGA);
    write(&vga, TEXT_WINDOW, &[0b0001_1011]);
    write(&vga, TEXT_WINDOW + 0x2001, &[0b1100_0000]);
    screen.look(|it| {
        assert_eq!((it.width(), it.height()), (640, 400));
        let row = |y| {
            (0..10)
                .step_by(2)
                .map(|x| colour(it, x, y))
                .collect::<Vec<_>>()
        };
        assert_eq!(row(0), [0, 1, 2, 3, 0]);
        assert_eq!(row(2), [0, 0, 0, 0, 3]);
    });
}

fn vbe(vga: &SharedVga, index: u16, value: u16) {
    locked(vga).write_port(0x1ce, 2, index.into());
    locked(vga).write_port(0x1cf, 2, value.into());
}

#[test]
fn linear_modes_have_their_depths_and_their_window() {
    let (vga, screen, _) = vga();
    let memory = locked(&vga).vram.clone();
    for (bits, bytes, pixel) in [
        (8, vec![5], 5 << 18),
        (15, vec![0x00, 0x7c], 0x00ff_0000),
        (16, vec![0xe0, 0x07], 0x0000_ff00),
        (24, vec![1, 2, 3], 0x0003_0201),
        (32, vec![1, 2, 3, 9], 0x0003_0201),
    ] {
        set(&vga, &MODE_13H);
        for (index, value) in [(4, 0), (1, 320), (2, 200), (3, bits), (4, 0x41)] {
            vbe(&vga, index, value);
        }
        memory.write(bytes.len() as u64, &bytes);
        screen.look(|it| {
            assert_eq!((it.width(), it.height()), (320, 200));
            assert_eq!(it.row(0)[..3], [0, pixel, 0], "{bits} bits");
        });
    }
    // A row of the virtual screen further down, by banks of 64 KiB.
    vbe(&vga, 5, 1);
    locked(&vga).write_window(0x40, 4, 0x0011_2233);
    let mut found = [0; 4];
    memory.read(0x1_0040, &mut found);
    assert_eq!(found, [0x33, 0x22, 0x11, 0]);
    vbe(&vga, 9, 51);
    screen.look(|it| assert_eq!(it.row(0)[(0x1_0040 - 51 * 1280) / 4], 0x0011_2233));
}

#[test]
fn only_what_was_written_is_drawn_again() {
    let (vga, screen, _) = vga();
    let mode = LinearMode {
        width: 256,
        height: 128,
    };
    screen.show_linear(mode);
    let seen = screen.look(Picture::now);
    locked(&vga)
        .vram
        .clone()
        .write(1024 * 64 + 4 * 100, &[1, 2, 3, 0]);
    let changed = screen.look(|it| it.changed_since(seen));
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].x, changed[0].y), (96, 64));
}

#[test]
fn the_retrace_comes_and_goes() {
    let (vga, _, clock) = vga();
    let mut seen = [false; 2];
    for now in (0..30_000_000).step_by(100_000) {
        clock.set(now);
        let status = locked(&vga).read_port(0x3da, 1);
        seen[usize::from(status & 8 != 0)] = true;
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn the_monitors_block_adds_up_to_nothing() {
    let block = edid::block((1024, 768));
    assert_eq!(
        block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
        0
    );
    assert_eq!(
        [block[56], block[58], block[59], block[61]],
        [0, 0x40, 0, 0x30]
    );
}

fn function(rom: Vec<u8>) -> VgaFunction {
    let (vga, ..) = vga();
    VgaFunction::new(vga, rom).unwrap()
}

#[test]
fn registers_are_memory_too() {
    let mut it = function(Vec::new());
    assert_eq!(it.bar_read(2, 0, 4), 0xffff_ff00);
    assert_eq!(it.bar_read(2, 0x500, 2), 0xb0c5);
    it.bar_write(2, 0x502, 2, 640);
    assert_eq!(it.bar_read(2, 0x502, 2), 640);
    it.bar_write(2, 0x404, 2, 0x0f02);
    assert_eq!(it.bar_read(2, 0x405, 1), 0x0f);
    assert_eq!(it.bar_read(2, 0x514, 2), SMALL >> 16);
    assert_eq!(it.bar_read(2, 0xff8, 8), u64::MAX);
}

#[test]
fn the_rom_is_read_where_its_register_says() {
    let mut rom = vec![0x55, 0xaa, 3];
    rom.resize(0x600, 7);
    let root = PciRoot::new(PciWindows {
        memory32: 0xc000_0000..0xe000_0000,
        memory64: None,
        io: 0xc000..0xd000,
    });
    let at = DeviceFunction::new(1, 0);
    root.insert(at, function(rom.clone())).unwrap();
    root.assign_bars().unwrap();
    root.config_write(0, at, 0x30, 4, u32::MAX);
    assert_eq!(root.config_read(0, at, 0x30, 4), 0xffff_f801);
    root.config_write(0, at, 0x30, 4, 0xd000_0001);
    assert_eq!(root.memory_read(0xd000_0000, 4), 0x0703_aa55);
    root.config_write(0, at, 0x30, 4, 0xd000_0000);
    assert_eq!(root.memory_read(0xd000_0000, 4), u64::MAX);
    assert_eq!(function(rom).bar_read(EXPANSION_ROM, 0x7fc, 4), 0);
    assert!(VgaFunction::new(vga().0, vec![1; 8]).is_err());
    assert!(VgaFunction::new(vga().0, vec![0x55; 1 << 17]).is_err());
}

#[test]
fn the_frame_buffer_lies_where_its_register_says_and_only_in_the_window() {
    let root = PciRoot::new(PciWindows {
        memory32: 0xc000_0000..0xe000_0000,
        memory64: None,
        io: 0xc000..0xd000,
    });
    let at = DeviceFunction::new(1, 0);
    let function = function(Vec::new());
    let memory = function.vram().clone();
    root.insert(at, function).unwrap();
    assert_eq!(memory.range(), None);
    root.assign_bars().unwrap();
    let base = memory.range().unwrap().base;
    assert!((0xc000_0000..0xe000_0000).contains(&base.0));
    root.config_write(0, at, 0x10, 4, u32::MAX);
    assert_eq!(memory.range(), None, "while it is sized");
    root.config_write(0, at, 0x10, 4, 0xd000_0000);
    assert_eq!(memory.range().unwrap().base, Gpa(0xd000_0000));
    root.config_write(0, at, 4, 2, 0);
    assert_eq!(memory.range(), None, "while it is not decoded");
    root.reset();
    assert_eq!(memory.range().unwrap().base, base);
    root.remove(at);
    assert_eq!(memory.range(), None);
}

#[test]
fn what_it_shows_is_saved_with_it() {
    let (vga, screen, clock) = vga();
    set(&vga, &MODE_13H);
    write(&vga, 77, &[9]);
    let saved = VgaFunction::new(Arc::clone(&vga), Vec::new())
        .unwrap()
        .save();
    let shown = screen.look(Picture::rgb);
    let other = Arc::new(Mutex::new(Vga::new(memory(), clock, (1024, 768))));
    let mut copy = VgaFunction::new(Arc::clone(&other), Vec::new()).unwrap();
    locked(&other).vram.clone().write(0x3000, &[1]);
    copy.restore(&saved).unwrap();
    assert_eq!(Screen::new(other).look(Picture::rgb), shown);
    assert_eq!(copy.save(), saved);
}

#[test]
fn a_configuration_space_without_a_rom_has_no_register_for_it() {
    let identity = crate::pci::Identity {
        vendor: 1,
        device: 1,
        subsystem_vendor: 0,
        subsystem: 0,
        class: 0,
        revision: 0,
    };
    let mut space = ConfigSpace::new(&identity).with_bar(0, BarKind::Memory32, 0x1000);
    space.write(0x30, 4, u32::MAX);
    assert_eq!(space.read(0x30, 4), 0);
}

#[test]
fn the_window_is_memory_while_it_is_bytes_in_a_row() {
    let ranges = [RamRange {
        base: Gpa(0),
        len: PAGE_SIZE,
    }];
    let guest = GuestMemory::new(&ranges).unwrap();
    let vram = guest.add_device_memory(SMALL).unwrap();
    let window = guest.add_device_window(&vram, WINDOW_LEN).unwrap();
    let clock = FakeClock::at_wall(0);
    let vga = Vga::new(vram, clock as _, (1024, 768)).with_window(window);
    let vga = Arc::new(Mutex::new(vga));
    let place = || {
        let placed = guest.device_memories().placed();
        placed.first().map(|(range, _)| (range.base.0, range.len))
    };
    let first = || guest.device_memories().placed()[0].1.clone();
    set(&vga, &TEXT);
    assert_eq!(place(), None);
    set(&vga, &MODE_13H);
    assert_eq!(place(), Some((0xa_0000, 0x1_0000)));
    first().write(0x123, &[7]);
    assert_eq!(read(&vga, 0x123), 7);
    let screen = Screen::new(Arc::clone(&vga));
    screen.look(|_| ());
    first().write(5, &[9]);
    screen.look(|it| assert_eq!(colour(it, 10, 0), 9));
    // Of some planes alone, a write changes no byte of the others.
    indexed(&vga, 0x3c4, 2, 7);
    assert_eq!(place(), None);
    // A bank of a linear mode, and another one.
    locked(&vga).show_linear(LinearMode {
        width: 320,
        height: 240,
    });
    assert_eq!(place(), Some((0xa_0000, 0x1_0000)));
    locked(&vga).write_port(0x1ce, 2, 5);
    locked(&vga).write_port(0x1cf, 2, 2);
    first().write(0, &[3]);
    assert_eq!(read(&vga, 0), 3);
    locked(&vga).write_port(0x1cf, 2, 0);
    assert_eq!(read(&vga, 0), 0);
    locked(&vga).reset();
    assert_eq!(place(), None);
}
