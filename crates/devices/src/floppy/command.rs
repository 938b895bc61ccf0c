//! Commands of the floppy disk controller. Spec: Intel 82078 datasheet, "Command Descriptions".

use std::io;

use super::Floppy;
use super::format::SECTOR;

/// Status 0: ended badly; ended by a look at all drives, after a reset; a seek has ended; no such command.
const FAILED: u8 = 0x40;
pub(super) const POLLED: u8 = 0xc0;
const SEEK_ENDED: u8 = 0x20;
const INVALID: u8 = 0x80;
/// Status 1: past the last sector; no data found; write-protected; no address mark.
const END_OF_CYLINDER: u8 = 0x80;
const NO_DATA: u8 = 0x04;
const PROTECTED: u8 = 0x02;
const NO_MARK: u8 = 0x01;
/// Status 3: write-protected, at track 0, and what is always so.
const STATUS_PROTECTED: u8 = 0x40;
const STATUS_TRACK_0: u8 = 0x10;
const STATUS_FIXED: u8 = 0x28;
const VERSION_82078: u8 = 0x90;
/// In a command: go on with the other head.
const MULTI_TRACK: u8 = 0x80;
/// Sectors of 512 bytes.
const SIZE_512: u8 = 2;
/// A data command moves no more than a cylinder.
const MOST_SECTORS: usize = 2 * 36;

/// How many bytes a command has that begins with `first`.
pub(super) fn length(first: u8) -> usize {
    match first {
        0x0e | 0x08 | 0x10 | 0x18 | 0x14 | 0x94 => 1,
        0x07 | 0x04 | 0x12 | 0x0a | 0x4a => 2,
        0x03 | 0x0f | 0x8f | 0xcf => 3,
        0x13 => 4,
        0x0d | 0x4d => 6,
        _ => match first & 0x1f {
            // Read, read deleted, read track, write, write deleted, verify.
            0x06 | 0x0c | 0x02 | 0x05 | 0x09 | 0x16 => 9,
            _ => 1,
        },
    }
}

/// Where a data command is.
#[derive(Debug, Clone, Copy)]
struct Place {
    cylinder: u8,
    head: u8,
    sector: u8,
    size: u8,
}

/// Why it ended: status 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended(u8, u8);

const WELL: Ended = Ended(0, 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
    Verify,
}

impl Floppy {
    pub(super) fn run(&mut self, command: &[u8]) {
        match *command {
            [0x03, first, second] => self.state.specified = [first, second],
            [0x04, drive] => self.state.answer = vec![self.drive_status(drive)],
            [0x07, drive] => self.seek(drive, 0),
            [0x0f, drive, cylinder] => self.seek(drive, cylinder),
            [0x8f, drive, by] => self.seek(drive, self.state.cylinder.saturating_sub(by)),
            [0xcf, drive, by] => self.seek(drive, self.state.cylinder.saturating_add(by)),
            [0x08] => self.sense_interrupt(),
            [0x0a | 0x4a, drive] => self.read_id(drive),
            [0x0d | 0x4d, drive, _, sectors, _, filler] => self.format(drive, sectors, filler),
            [0x0e] => self.dump_registers(),
            [0x10] => self.state.answer = vec![VERSION_82078],
            [0x12, mode] => self.state.perpendicular = mode,
            [0x13, _, first, second] => self.state.configured = [first, second],
            [0x14] => self.lock(false),
            [0x94] => self.lock(true),
            [0x18] => self.state.answer = vec![0x41],
            [first, drive, cylinder, head, sector, size, last, _, _] => {
                let place = Place {
                    cylinder,
                    head,
                    sector,
                    size,
                };
                let way = match first & 0x1f {
                    0x05 | 0x09 => Way::Write,
                    0x16 => Way::Verify,
                    _ => Way::Read,
                };
                self.data(drive, way, place, last, first & MULTI_TRACK != 0);
            }
            _ => self.state.answer = vec![INVALID],
        }
    }

    /// The drive that there is.
    fn is_there(drive: u8) -> bool {
        drive & 3 == 0
    }

    fn seek(&mut self, drive: u8, cylinder: u8) {
        let drive = drive & 7;
        if Floppy::is_there(drive) {
            self.state.cylinder = cylinder;
            self.state.sector = 1;
            if self.disk.is_some() {
                self.state.changed = false;
            }
        }
        // A drive that is not there has no track 0 to find; nobody looks for it twice.
        self.state.told = vec![SEEK_ENDED | drive];
        self.interrupt();
    }

    fn sense_interrupt(&mut self) {
        self.calm();
        self.state.answer = if self.state.told.is_empty() {
            vec![INVALID]
        } else {
            vec![self.state.told.remove(0), self.state.cylinder]
        };
    }

    fn drive_status(&self, drive: u8) -> u8 {
        let protected = self.disk.as_ref().is_some_and(|(disk, _)| disk.read_only());
        let mut status = STATUS_FIXED | drive & 7;
        if self.state.cylinder == 0 && Floppy::is_there(drive) {
            status |= STATUS_TRACK_0;
        }
        status | if protected { STATUS_PROTECTED } else { 0 }
    }

    fn lock(&mut self, locked: bool) {
        self.state.locked = locked;
        self.state.answer = vec![u8::from(locked) << 4];
    }

    fn dump_registers(&mut self) {
        let state = &self.state;
        let last = self.disk.as_ref().map_or(0, |(_, format)| format.sectors);
        self.state.answer = vec![
            state.cylinder,
            0,
            0,
            0,
            state.specified[0],
            state.specified[1],
            last,
            u8::from(state.locked) << 7 | state.perpendicular & 0x7f,
            state.configured[0],
            state.configured[1],
        ];
    }

    fn finish(&mut self, drive: u8, ended: Ended, place: Place) {
        let Ended(status, why) = ended;
        self.state.answer = vec![
            status | drive & 7,
            why,
            0,
            place.cylinder,
            place.head,
            place.sector,
            place.size,
        ];
        self.interrupt();
    }

    fn read_id(&mut self, drive: u8) {
        let head = drive >> 2 & 1;
        let place = Place {
            cylinder: self.state.cylinder,
            head,
            sector: self.state.sector,
            size: SIZE_512,
        };
        let found = self.disk.as_ref().filter(|_| Floppy::is_there(drive));
        let found = found
            .filter(|(_, format)| head < format.heads && self.state.cylinder < format.cylinders);
        let ended = match found {
            Some((_, format)) => {
                // The disk turns.
                self.state.sector = self.state.sector % format.sectors + 1;
                WELL
            }
            None => Ended(FAILED, NO_MARK),
        };
        self.finish(drive, ended, place);
    }

    fn data(&mut self, drive: u8, way: Way, from: Place, last: u8, multi: bool) {
        let mut place = from;
        let ended = self.move_sectors(drive, way, &mut place, last, multi);
        self.finish(drive, ended, place);
    }

    /// One sector after the other, until the DMA controller's count is over.
    fn move_sectors(
        &mut self,
        drive: u8,
        way: Way,
        place: &mut Place,
        last: u8,
        multi: bool,
    ) -> Ended {
        let disk = self.disk.clone().filter(|_| Floppy::is_there(drive));
        let Some((disk, format)) = disk else {
            return Ended(FAILED, NO_MARK);
        };
        if way == Way::Write && disk.read_only() {
            return Ended(FAILED, PROTECTED);
        }
        if place.size != SIZE_512 || place.cylinder != self.state.cylinder {
            return Ended(FAILED, NO_DATA);
        }
        for _ in 0..MOST_SECTORS {
            let Some(offset) = format.offset(place.cylinder, place.head, place.sector) else {
                return Ended(FAILED, NO_DATA);
            };
            let moved = self.move_sector(&*disk, way, offset);
            let Ok((count, over)) = moved else {
                return Ended(FAILED, NO_DATA);
            };
            if count == 0 {
                // Nobody takes it, or gives it.
                return Ended(FAILED, END_OF_CYLINDER);
            }
            if place.sector < last {
                place.sector += 1;
            } else {
                place.sector = 1;
                let other = multi && place.head == 0 && format.heads == 2;
                if other {
                    place.head = 1;
                } else {
                    place.cylinder = place.cylinder.saturating_add(1);
                    if multi {
                        place.head = 0;
                    }
                    return if over || way == Way::Verify {
                        WELL
                    } else {
                        Ended(FAILED, END_OF_CYLINDER)
                    };
                }
            }
            if over {
                return WELL;
            }
        }
        Ended(FAILED, END_OF_CYLINDER)
    }

    /// Moves a sector, or the part of it that the DMA controller's count is enough for.
    fn move_sector(
        &self,
        disk: &dyn block::BlockDevice,
        way: Way,
        offset: u64,
    ) -> io::Result<(usize, bool)> {
        let mut bytes = [0; SECTOR as usize];
        // Behind its end, an image that is shorter than its disk is blank.
        let there = offset + SECTOR <= disk.len();
        match way {
            Way::Verify => Ok((bytes.len(), false)),
            Way::Read => {
                if there {
                    disk.read_at(&mut bytes, offset)?;
                }
                Ok(self.parts.dma.give(&bytes))
            }
            Way::Write => {
                let (count, over) = self.parts.dma.take(&mut bytes);
                if count > 0 {
                    disk.write_at(&bytes, offset)?;
                }
                Ok((count, over))
            }
        }
    }

    /// Writes a track of sectors full of one byte, by the addresses that DMA gives.
    fn format(&mut self, drive: u8, sectors: u8, filler: u8) {
        let head = drive >> 2 & 1;
        let mut place = Place {
            cylinder: self.state.cylinder,
            head,
            sector: 1,
            size: SIZE_512,
        };
        let disk = self.disk.clone().filter(|_| Floppy::is_there(drive));
        let ended = match disk {
            None => Ended(FAILED, NO_MARK),
            Some((disk, _)) if disk.read_only() => Ended(FAILED, PROTECTED),
            Some((disk, format)) => {
                let blank = [filler; SECTOR as usize];
                let mut ended = WELL;
                for _ in 0..sectors {
                    let mut address = [0; 4];
                    let (count, _) = self.parts.dma.take(&mut address);
                    place.sector = address[2];
                    let offset = format.offset(self.state.cylinder, head, address[2]);
                    let offset = offset.filter(|_| count == address.len());
                    if offset.is_none_or(|offset| disk.write_at(&blank, offset).is_err()) {
                        ended = Ended(FAILED, NO_DATA);
                        break;
                    }
                }
                ended
            }
        };
        self.finish(drive, ended, place);
    }
}
