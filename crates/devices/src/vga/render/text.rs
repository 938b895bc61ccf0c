//! Text: characters in plane 0, attributes in plane 1, fonts in plane 2.
//! Spec: IBM VGA Technical Reference, "Alphanumeric Modes"; FreeVGA, "VGA Text Mode Operation".

use display::Picture;

use super::{Source, lines, stretched};
use crate::vga::mode::Raster;

const ADDRESSES: u32 = 0x1_0000;
/// Of the attribute controller's mode.
const WIDE_LINES: u8 = 1 << 2;
const BLINK: u8 = 1 << 3;
const CURSOR_OFF: u8 = 1 << 5;
/// Lines of a font's character.
const GLYPH: usize = 32;

/// One bank of the planes, as text is in it.
struct Memory(Vec<u8>);

impl Memory {
    fn cell(&self, address: u32) -> (u8, u8) {
        let at = (address % ADDRESSES) as usize * 4;
        (self.0[at], self.0[at + 1])
    }

    /// Eight dots of a character.
    fn dots(&self, font: usize, character: u8, scan: u32) -> u8 {
        let at = font + usize::from(character) * GLYPH + scan as usize % GLYPH;
        self.0[at % ADDRESSES as usize * 4 + 2]
    }
}

/// Where the two fonts begin, which bit 3 of an attribute chooses from: clear, set.
fn fonts(select: u8) -> [usize; 2] {
    let place = |low: u8, high: u8| usize::from(low & 3) * 0x4000 + usize::from(high & 1) * 0x2000;
    [place(select, select >> 4), place(select >> 2, select >> 5)]
}

/// The address of the cursor, and the lines of its cell that it fills.
struct Cursor {
    address: u32,
    first: u32,
    last: u32,
}

impl Cursor {
    fn of(source: &Source<'_>) -> Option<Cursor> {
        let crtc = &source.registers.crtc;
        let shown = crtc[0x0a] & CURSOR_OFF == 0 && source.blink.is_multiple_of(2);
        shown.then(|| Cursor {
            address: u32::from(crtc[0x0e]) << 8 | u32::from(crtc[0x0f]),
            first: u32::from(crtc[0x0a] & 0x1f),
            last: u32::from(crtc[0x0b] & 0x1f),
        })
    }

    fn covers(&self, address: u32, scan: u32) -> bool {
        address == self.address && (self.first..=self.last).contains(&scan)
    }
}

pub(super) fn draw(source: &Source<'_>, raster: &Raster, to: &mut Picture) {
    let registers = source.registers;
    let mut memory = Memory(vec![0; ADDRESSES as usize * 4]);
    source.vram.read(0, &mut memory.0);
    let colours = registers.sixteen();
    let fonts = fonts(registers.sequencer[3]);
    let mode = registers.attribute[0x10];
    // Characters blink half as fast as the cursor.
    let hidden = mode & BLINK != 0 && source.blink % 4 >= 2;
    let cursor = Cursor::of(source);
    let mut pixels = Vec::new();
    for (y, line) in (0u32..).zip(lines(raster)) {
        pixels.clear();
        for column in 0..raster.columns {
            let address = (line.address + column) % ADDRESSES;
            let (character, attribute) = memory.cell(address);
            let font = fonts[usize::from(attribute >> 3 & 1)];
            let mut dots = memory.dots(font, character, line.scan);
            let back = attribute >> 4 & if mode & BLINK == 0 { 15 } else { 7 };
            if hidden && attribute & 0x80 != 0 {
                dots = 0;
            }
            let is_cursor = cursor
                .as_ref()
                .is_some_and(|cursor| cursor.covers(address, line.scan));
            if is_cursor {
                dots = 0xff;
            }
            let front = colours[usize::from(attribute & 15)];
            let back = colours[usize::from(back)];
            let dot = |set: bool| if set { front } else { back };
            pixels.extend((0..8).rev().map(|bit| dot(dots >> bit & 1 != 0)));
            if raster.dots == 9 {
                // Characters that draw lines go on to the next.
                let joins = mode & WIDE_LINES != 0 && (0xc0..=0xdf).contains(&character);
                pixels.push(dot(is_cursor || joins && dots & 1 != 0));
            }
        }
        stretched(&mut pixels, raster.stretch);
        to.draw(0, y, &pixels);
    }
}
