use std::sync::{Arc, Mutex};

use display::Picture;
use memory::GuestMemory;
use vm_memory::{Bytes, GuestAddress};

use crate::pci::PciFunction;
use crate::testing::{FakeClock, FakeLine, FakeMsi};
use crate::vga::{Face, LinearMode, Screen, Vga};
use crate::virtio::testing::{Buffer, Driver, ram, wait_until};
use crate::virtio::{Gpu, GpuHandle, VirtioPci};

const OK: u32 = 0x1100;
const UNSPECIFIED: u32 = 0x1200;
const OUT_OF_MEMORY: u32 = 0x1201;
const NO_SCANOUT: u32 = 0x1202;
const NO_RESOURCE: u32 = 0x1203;
const PARAMETER: u32 = 0x1205;
/// Blue, green, red, nothing.
const FORMAT: u32 = 2;
/// Where the guest has its pixels.
const PIXELS: u32 = 0x80_0000;

fn gpu() -> (Driver, GpuHandle) {
    let memory = ram();
    let gpu = Gpu::new(memory.clone(), (1024, 768), None).unwrap();
    let handle = gpu.handle();
    let mut driver = Driver::with_memory(gpu, memory);
    driver.start(2);
    (driver, handle)
}

fn request(kind: u32, body: &[u32]) -> Vec<u8> {
    let header = [kind, 0, 0, 0, 0, 0];
    let words = header.iter().chain(body);
    words.flat_map(|word| word.to_le_bytes()).collect()
}

/// What is answered to a command with so much room.
fn answered(driver: &mut Driver, request: &[u8], room: u32) -> Vec<u8> {
    let head = driver.submit(0, &[Buffer::Out(request), Buffer::In(room)]);
    let (answered, len) = driver.answer(0);
    assert_eq!(answered, head);
    let mut bytes = driver.written(0, head);
    bytes.truncate(len as usize);
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn ask(driver: &mut Driver, kind: u32, body: &[u32]) -> u32 {
    let answer = answered(driver, &request(kind, body), 24);
    assert_eq!(answer.len(), 24);
    word(&answer, 0)
}

/// Makes picture 1, of 64x48 pixels, with its pixels at [`PIXELS`] in two buffers.
fn make(driver: &mut Driver) {
    assert_eq!(ask(driver, 0x101, &[1, FORMAT, 64, 48]), OK);
    let pixels = PIXELS;
    let entries = [
        1,
        2,
        pixels,
        0,
        4096,
        0,
        pixels + 4096,
        0,
        64 * 48 * 4 - 4096,
        0,
    ];
    assert_eq!(ask(driver, 0x106, &entries), OK);
}

fn paint(memory: &GuestMemory, x: u64, y: u64, pixel: u32) {
    let at = GuestAddress(u64::from(PIXELS) + 4 * (64 * y + x));
    memory.ram().write_slice(&pixel.to_le_bytes(), at).unwrap();
}

fn look(handle: &GpuHandle, picture: &mut Picture) -> bool {
    handle.draw(false, picture)
}

#[test]
fn a_picture_is_shown_as_it_was_when_it_was_flushed() {
    let (mut driver, handle) = gpu();
    let mut picture = Picture::default();
    assert!(!look(&handle, &mut picture), "nothing is shown yet");
    make(&mut driver);
    let memory = driver.memory.clone();
    paint(&memory, 5, 20, 0xff11_2233);
    assert_eq!(ask(&mut driver, 0x105, &[0, 0, 64, 48, 0, 0, 1, 0]), OK);
    assert!(!look(&handle, &mut picture));
    assert_eq!(ask(&mut driver, 0x103, &[0, 0, 64, 48, 0, 1]), OK);
    assert!(look(&handle, &mut picture));
    assert_eq!((picture.width(), picture.height()), (64, 48));
    assert_eq!(picture.row(20)[5], 0x0011_2233);
    // What the guest draws shows when it was transferred and flushed, as far as it was.
    let seen = picture.now();
    paint(&memory, 6, 21, 0x0000_00ff);
    paint(&memory, 40, 21, 0x0000_00ff);
    let offset = 4 * (64 * 21 + 6);
    assert_eq!(ask(&mut driver, 0x105, &[6, 21, 2, 2, offset, 0, 1, 0]), OK);
    look(&handle, &mut picture);
    assert_eq!(picture.row(21)[6], 0);
    assert_eq!(ask(&mut driver, 0x104, &[6, 21, 2, 2, 1, 0]), OK);
    look(&handle, &mut picture);
    assert_eq!((picture.row(21)[6], picture.row(21)[40]), (0xff, 0));
    assert_eq!(picture.changed_since(seen).len(), 1);
    // Dark, and yet the driver's.
    assert_eq!(ask(&mut driver, 0x103, &[0, 0, 0, 0, 0, 0]), OK);
    assert!(look(&handle, &mut picture));
    assert_eq!(picture.row(20)[5], 0);
}

#[test]
fn orders_of_colours_are_told_apart() {
    for (format, bytes) in [
        (1, [3, 2, 1, 9]),
        (3, [9, 1, 2, 3]),
        (67, [1, 2, 3, 9]),
        (121, [9, 3, 2, 1]),
    ] {
        let found = super::resource::Format::of(format).unwrap();
        assert_eq!(found.pixel(bytes), 0x0901_0203, "format {format}");
    }
    let opaque = super::resource::Format::of(134).unwrap();
    assert_eq!(opaque.pixel([1, 2, 3, 9]), 0x0901_0203);
    assert_eq!(super::resource::Format::of(5), None);
}

#[test]
fn a_part_of_a_picture_is_a_screen() {
    let (mut driver, handle) = gpu();
    make(&mut driver);
    paint(&driver.memory.clone(), 20, 10, 0xabcd);
    ask(&mut driver, 0x105, &[0, 0, 64, 48, 0, 0, 1, 0]);
    assert_eq!(ask(&mut driver, 0x103, &[16, 8, 32, 16, 0, 1]), OK);
    let mut picture = Picture::default();
    look(&handle, &mut picture);
    assert_eq!((picture.width(), picture.height()), (32, 16));
    assert_eq!(picture.row(2)[4], 0xabcd);
    // A flush of what lies beside it draws nothing.
    let seen = picture.now();
    assert_eq!(ask(&mut driver, 0x104, &[0, 0, 10, 8, 1, 0]), OK);
    look(&handle, &mut picture);
    assert_eq!(picture.now(), seen);
}

#[test]
fn what_a_guest_may_have_is_bounded() {
    let (mut driver, _) = gpu();
    make(&mut driver);
    assert_eq!(ask(&mut driver, 0x101, &[1, FORMAT, 8, 8]), NO_RESOURCE);
    assert_eq!(ask(&mut driver, 0x101, &[0, FORMAT, 8, 8]), NO_RESOURCE);
    assert_eq!(ask(&mut driver, 0x101, &[2, 99, 8, 8]), PARAMETER);
    assert_eq!(ask(&mut driver, 0x101, &[2, FORMAT, 0, 8]), PARAMETER);
    assert_eq!(
        ask(&mut driver, 0x101, &[2, FORMAT, u32::MAX, u32::MAX]),
        PARAMETER
    );
    assert_eq!(
        ask(&mut driver, 0x101, &[2, FORMAT, 8192, 8192]),
        OUT_OF_MEMORY
    );
    let small = (2..2000).map(|id| ask(&mut driver, 0x101, &[id, FORMAT, 1, 1]));
    let refused = small.filter(|answer| *answer == OUT_OF_MEMORY).count();
    assert_eq!(refused, 1998 - 1023);
    assert_eq!(ask(&mut driver, 0x106, &[2, 16_385]), OUT_OF_MEMORY);
    // More than came with the command.
    assert_eq!(ask(&mut driver, 0x106, &[2, 3, 0, 0]), PARAMETER);
    assert_eq!(ask(&mut driver, 0x106, &[1, 1, 0, 0, 4, 0]), UNSPECIFIED);
    // Nowhere, outside, and of nobody.
    assert_eq!(
        ask(&mut driver, 0x105, &[0, 0, 1, 1, 0, 0, 3, 0]),
        UNSPECIFIED
    );
    assert_eq!(
        ask(&mut driver, 0x105, &[0, 0, 65, 1, 0, 0, 1, 0]),
        PARAMETER
    );
    let far = [0, 0, 1, 1, u32::MAX, u32::MAX, 1, 0];
    assert_eq!(ask(&mut driver, 0x105, &far), UNSPECIFIED);
    assert_eq!(
        ask(&mut driver, 0x104, &[1, u32::MAX, 1, 1, 1, 0]),
        PARAMETER
    );
    assert_eq!(ask(&mut driver, 0x103, &[0, 0, 64, 48, 1, 1]), NO_SCANOUT);
    assert_eq!(ask(&mut driver, 0x103, &[0, 0, 64, 49, 0, 1]), PARAMETER);
    assert_eq!(
        ask(&mut driver, 0x103, &[0, 0, 64, 48, 0, 5000]),
        NO_RESOURCE
    );
    assert_eq!(ask(&mut driver, 0x102, &[5000, 0]), NO_RESOURCE);
}

#[test]
fn buffers_outside_of_memory_are_nobodys() {
    let (mut driver, _) = gpu();
    assert_eq!(ask(&mut driver, 0x101, &[1, FORMAT, 64, 48]), OK);
    let nowhere = [1, 1, u32::MAX, u32::MAX, u32::MAX, 0];
    assert_eq!(ask(&mut driver, 0x106, &nowhere), OK);
    let all = [0, 0, 64, 48, 0, 0, 1, 0];
    assert_eq!(ask(&mut driver, 0x105, &all), UNSPECIFIED);
    assert_eq!(ask(&mut driver, 0x107, &[1, 0]), OK);
    assert_eq!(ask(&mut driver, 0x107, &[1, 0]), UNSPECIFIED);
    let none = [1, 2, PIXELS, 0, 0, 0, PIXELS, 0, 64, 0];
    assert_eq!(ask(&mut driver, 0x106, &none), OK);
    assert_eq!(ask(&mut driver, 0x105, &[0, 0, 16, 1, 0, 0, 1, 0]), OK);
    assert_eq!(ask(&mut driver, 0x105, &all), UNSPECIFIED);
}

#[test]
fn requests_that_are_none_are_answered() {
    let (mut driver, _) = gpu();
    assert_eq!(
        word(&answered(&mut driver, &request(0x999, &[]), 24), 0),
        UNSPECIFIED
    );
    assert_eq!(
        word(&answered(&mut driver, &request(0x101, &[1]), 24), 0),
        PARAMETER
    );
    assert_eq!(word(&answered(&mut driver, &[9, 9], 24), 0), UNSPECIFIED);
    assert!(answered(&mut driver, &request(0x100, &[]), 7).is_empty());
    let mut fenced = request(0x102, &[7, 0]);
    fenced[4] = 1;
    fenced[8..20].copy_from_slice(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]);
    let answer = answered(&mut driver, &fenced, 24);
    assert_eq!(word(&answer, 0), NO_RESOURCE);
    assert_eq!(answer[4..20], fenced[4..20]);
}

#[test]
fn the_monitor_becomes_another() {
    let (mut driver, handle) = gpu();
    let size = |driver: &mut Driver| {
        let info = answered(driver, &request(0x100, &[]), 408);
        assert_eq!((word(&info, 0), info.len()), (0x1101, 408));
        let edid = answered(driver, &request(0x10a, &[0, 0]), 1056);
        assert_eq!((word(&edid, 0), word(&edid, 24)), (0x1104, 128));
        let block = &edid[32..160];
        assert_eq!(
            block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
            0
        );
        let detailed = |low: usize, high: usize| {
            u32::from(block[54 + low]) | u32::from(block[54 + high] >> 4) << 8
        };
        let preferred = (detailed(2, 4), detailed(5, 7));
        assert_eq!(preferred, (word(&info, 32), word(&info, 36)));
        preferred
    };
    assert_eq!(size(&mut driver), (1024, 768));
    assert_eq!(ask(&mut driver, 0x10a, &[1, 0]), NO_SCANOUT);
    let device = driver.device;
    assert_eq!(driver.function_read(device, 4), 0);
    assert!(handle.resize(1283, 700));
    let isr = driver.isr;
    wait_until(|| driver.function_read(isr, 1) & 2 != 0);
    assert_eq!(driver.function_read(device, 4), 1);
    assert_eq!(size(&mut driver), (1280, 700));
    driver.function.bar_write(0, device + 4, 4, 1);
    assert_eq!(driver.function_read(device, 4), 0);
    assert!(handle.resize(1, u16::MAX));
    assert_eq!(size(&mut driver), (320, 2400));
    driver.write(0x14, 1, 0);
    assert!(!handle.resize(800, 600), "there is no driver");
}

#[test]
fn viewers_have_the_pointer() {
    let (mut driver, handle) = gpu();
    let before = handle.cursor(None).unwrap();
    assert!(before.pixels.is_empty());
    make(&mut driver);
    paint(&driver.memory.clone(), 1, 0, 0xffff_0000);
    ask(&mut driver, 0x105, &[0, 0, 64, 48, 0, 0, 1, 0]);
    let shown = request(0x300, &[0, 30, 20, 0, 1, 3, 99, 0]);
    driver.submit(1, &[Buffer::Out(&shown)]);
    driver.answer(1);
    assert_eq!(
        handle.cursor(Some(handle.cursor(None).unwrap().number)),
        None
    );
    let cursor = handle.cursor(Some(before.number)).unwrap();
    assert_eq!((cursor.x, cursor.y, cursor.hot), (30, 20, (3, 47)));
    assert_eq!(cursor.pixels[..2], [0, 0xffff_0000]);
    let mut rgb = vec![7; 3 * 40 * 30];
    cursor.put_over(&mut rgb, 40);
    assert_eq!(
        rgb[3 * (20 * 40 + 29)..][..9],
        [7, 7, 7, 7, 7, 7, 255, 0, 0]
    );
    // Partly beyond each edge.
    for (x, y) in [
        (-10, -10),
        (39, 29),
        (i32::MIN, i32::MAX),
        (i32::MAX, i32::MIN),
    ] {
        let moved = super::Cursor {
            x,
            y,
            ..cursor.clone()
        };
        moved.put_over(&mut rgb, 40);
    }
    let hidden = request(0x300, &[0, 30, 20, 0, 0, 0, 0, 0]);
    driver.submit(1, &[Buffer::Out(&hidden)]);
    driver.answer(1);
    assert!(handle.cursor(None).unwrap().pixels.is_empty());
}

#[test]
fn all_of_it_goes_with_a_saved_machine() {
    let (mut driver, handle) = gpu();
    make(&mut driver);
    let memory = driver.memory.clone();
    paint(&memory, 63, 47, 0x0055_6677);
    ask(&mut driver, 0x105, &[0, 0, 64, 48, 0, 0, 1, 0]);
    ask(&mut driver, 0x103, &[0, 0, 64, 48, 0, 1]);
    let _ = handle.resize(640, 480);
    driver.function.quiesce();
    let saved = driver.function.save();
    let other = Gpu::new(memory.clone(), (1024, 768), None).unwrap();
    let restored = other.handle();
    let mut function = VirtioPci::new(other, memory, FakeMsi::new(), FakeLine::new()).unwrap();
    function.restore(&saved).unwrap();
    assert_eq!(function.save(), saved);
    let mut picture = Picture::default();
    assert!(look(&restored, &mut picture));
    assert_eq!(picture.row(47)[63], 0x0055_6677);
}

#[test]
fn the_screen_is_the_vgas_until_a_driver_shows_something() {
    let memory = ram();
    let vram = memory.add_device_memory(1 << 20).unwrap();
    let vga = Arc::new(Mutex::new(Vga::new(
        vram.clone(),
        FakeClock::at_wall(0),
        (640, 400),
    )));
    let face = Face::new(Arc::clone(&vga), Vec::new()).unwrap();
    let gpu = Gpu::new(memory.clone(), (640, 400), Some(face)).unwrap();
    let screen = Screen::new(vga).with_gpu(gpu.handle());
    screen.show_linear(LinearMode {
        width: 320,
        height: 200,
    });
    let mut function = VirtioPci::new(gpu, memory, FakeMsi::new(), FakeLine::new()).unwrap();
    // A VGA's frame buffer, its registers with the monitor's description, and virtio's.
    assert_eq!(function.config().byte(0x0b), 3);
    assert_eq!(function.memories().len(), 1);
    function.bar_write(0, 4, 4, 0x0012_3456);
    assert_eq!(function.bar_read(2, 0, 8), 0x00ff_ffff_ffff_ff00);
    assert_eq!(function.bar_read(4, 0x2008, 4), 1);
    assert_eq!(
        screen.look(|it| (it.width(), it.row(0)[1])),
        (320, 0x0012_3456)
    );
    let saved = function.save();
    function.reset();
    assert_eq!(function.bar_read(0, 4, 4), 0);
    function.restore(&saved).unwrap();
    assert_eq!(
        screen.look(|it| (it.width(), it.row(0)[1])),
        (320, 0x0012_3456)
    );
}
