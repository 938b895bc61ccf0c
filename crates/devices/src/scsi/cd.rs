//! Commands of a CD-ROM drive. Spec: SFF-8020i; MMC-3, "Commands"; SPC-3.
#![allow(
    clippy::cast_possible_truncation,
    reason = "fields of answers are parts of larger numbers"
)]

use block::BlockDevice;

use super::{COMMAND_LEN, Reply, Sense, Tray, answer, half, word};

/// Bytes of a frame.
const FRAME: u64 = 2048;
const LEAD_OUT: u8 = 0xaa;
/// Two seconds, in frames of 75 a second: where track 1 begins by the clock.
const PREGAP: u32 = 150;
/// More frames than this are not read at once: 128 MiB.
const MOST_FRAMES: u32 = 65536;

/// Does a command, and remembers in `tray` why it failed.
pub(crate) fn run(
    command: [u8; COMMAND_LEN],
    disc: Option<&dyn BlockDevice>,
    tray: &mut Tray,
) -> Reply {
    let reply = checked(command, disc, tray);
    if let Reply::Fail(sense) = &reply {
        tray.sense = *sense;
    }
    reply
}

fn checked(command: [u8; COMMAND_LEN], disc: Option<&dyn BlockDevice>, tray: &mut Tray) -> Reply {
    let inquires = matches!(command[0], 0x03 | 0x12);
    if tray.changed && !inquires && command[0] != 0x4a {
        tray.changed = false;
        return Reply::Fail(Sense::MEDIUM_CHANGED);
    }
    let has_disc = disc.is_some();
    let disc = disc.filter(|_| !tray.open);
    let needs_disc = matches!(
        command[0],
        0x00 | 0x25 | 0x28 | 0xa8 | 0xbe | 0x43 | 0x42 | 0x51 | 0x2b | 0xad
    );
    if needs_disc && disc.is_none() {
        return Reply::Fail(Sense::NO_MEDIUM);
    }
    if !inquires {
        tray.sense = Sense::NOTHING;
    }
    let frames = disc.map(|disc| disc.len() / FRAME);
    done(command, frames, has_disc, tray)
}

/// `readable` has the frames of a disc that can be read; `has_disc` also where it lies outside.
fn done(
    command: [u8; COMMAND_LEN],
    readable: Option<u64>,
    has_disc: bool,
    tray: &mut Tray,
) -> Reply {
    let (frames, present) = (readable.unwrap_or(0), readable.is_some());
    let room = |at| usize::from(half(&command, at));
    match command[0] {
        // TEST UNIT READY, SEEK, SET CD SPEED
        0x00 | 0x2b | 0xbb => Reply::Done,
        0x03 => {
            let sense = std::mem::replace(&mut tray.sense, Sense::NOTHING);
            answer(sense.data(), command[4].into())
        }
        0x12 => answer(inquiry(), command[4].into()),
        0x1b => start_stop(command[4], has_disc, tray),
        0x1e => {
            tray.locked = command[4] & 1 != 0;
            Reply::Done
        }
        0x25 => {
            let mut capacity = (frames.saturating_sub(1) as u32).to_be_bytes().to_vec();
            capacity.extend((FRAME as u32).to_be_bytes());
            answer(capacity, 8)
        }
        0x28 => read(frames, word(&command, 2), half(&command, 7).into()),
        0xa8 => read(frames, word(&command, 2), word(&command, 6)),
        0xbe => read_cd(&command, frames),
        0x43 => table_of_contents(&command, frames),
        0x46 => answer(configuration(), room(7)),
        0x4a => event_status(&command, present, tray),
        0x51 => {
            let mut disc = vec![0; 34];
            // Bytes that follow; the disc is complete, with one session and track.
            disc[1] = 32;
            disc[2] = 0x0e;
            disc[3..7].fill(1);
            answer(disc, room(7))
        }
        0x1a => mode_sense(command[2], command[4].into(), 4),
        0x5a => mode_sense(command[2], room(7), 8),
        0xbd => answer(vec![0; 8], room(8)),
        _ => Reply::Fail(Sense::NO_SUCH_COMMAND),
    }
}

fn read(frames: u64, first: u32, count: u32) -> Reply {
    let end = u64::from(first) + u64::from(count);
    // More than a disc has is out of range.
    if end > frames || count > MOST_FRAMES {
        return Reply::Fail(Sense::OUT_OF_RANGE);
    }
    if count == 0 {
        return Reply::Done;
    }
    Reply::Read {
        at: u64::from(first) * FRAME,
        len: u64::from(count) * FRAME,
    }
}

/// Data alone: no headers, no sub-channels.
fn read_cd(command: &[u8], frames: u64) -> Reply {
    const USER_DATA: u8 = 0x10;
    let count = u32::from_be_bytes([0, command[6], command[7], command[8]]);
    match command[9] & 0xf8 {
        0 => Reply::Done,
        USER_DATA => read(frames, word(command, 2), count),
        _ => Reply::Fail(Sense::INVALID_FIELD),
    }
}

fn start_stop(bits: u8, has_disc: bool, tray: &mut Tray) -> Reply {
    const LOAD_EJECT: u8 = 1 << 1;
    const START: u8 = 1 << 0;
    if bits & LOAD_EJECT != 0 {
        if bits & START != 0 {
            tray.close(has_disc);
        } else if tray.locked {
            return Reply::Fail(Sense::REMOVAL_PREVENTED);
        } else {
            tray.asked = false;
            tray.open = true;
        }
    }
    Reply::Done
}

/// One session with one track of data.
fn table_of_contents(command: &[u8], frames: u64) -> Reply {
    let clock = command[1] & 2 != 0;
    let format = match (command[2] & 0xf, command[9] >> 6) {
        (0, old) => old,
        (new, _) => new,
    };
    let end = frames.min(u32::MAX.into()) as u32;
    let entry = |track: u8, at: u32| {
        let mut entry = vec![0, 0x14, track, 0];
        entry.extend(address(at, clock));
        entry
    };
    let body = match format {
        0 => match command[6] {
            0..=1 => [entry(1, 0), entry(LEAD_OUT, end)].concat(),
            LEAD_OUT => entry(LEAD_OUT, end),
            _ => return Reply::Fail(Sense::INVALID_FIELD),
        },
        1 => entry(1, 0),
        _ => return Reply::Fail(Sense::INVALID_FIELD),
    };
    let mut contents = (body.len() as u16 + 2).to_be_bytes().to_vec();
    contents.extend([1, 1]);
    contents.extend(body);
    answer(contents, half(command, 7).into())
}

/// Polled for news of the medium: by this a guest learns that somebody wants the disc.
fn event_status(command: &[u8], present: bool, tray: &mut Tray) -> Reply {
    const POLLED: u8 = 1;
    const MEDIA: u8 = 1 << 4;
    const EJECT_REQUEST: u8 = 1;
    const NEW_MEDIA: u8 = 2;
    if command[1] & POLLED == 0 {
        return Reply::Fail(Sense::INVALID_FIELD);
    }
    let events = if command[4] & MEDIA == 0 {
        vec![0, 2, 0x80, MEDIA]
    } else {
        let event = if std::mem::take(&mut tray.asked) {
            EJECT_REQUEST
        } else if tray.changed && present {
            NEW_MEDIA
        } else {
            0
        };
        let status = u8::from(tray.open) | u8::from(present) << 1;
        vec![0, 6, 4, MEDIA, event, status, 0, 0]
    };
    answer(events, half(command, 7).into())
}

fn mode_sense(page: u8, room: usize, header: usize) -> Reply {
    let pages: &[(u8, &[u8])] = &[
        // Read error recovery; CD-ROM; capabilities: it reads, and its tray opens.
        (0x01, &[0x01, 6, 0, 5, 0, 0, 0, 0]),
        (0x0d, &[0x0d, 6, 0, 0, 0, 60, 0, 75]),
        (
            0x2a,
            &[
                0x2a, 18, 0x3b, 0, 0x70, 0x60, 0x29, 0, 0x02, 0xc2, 0, 2, 0, 0, 0x02, 0xc2, 0, 0,
                0, 0,
            ],
        ),
    ];
    let wanted = page & 0x3f;
    let chosen = pages
        .iter()
        .filter(|(number, _)| wanted == 0x3f || wanted == *number);
    let body: Vec<u8> = chosen
        .flat_map(|(_, bytes)| bytes.iter().copied())
        .collect();
    if body.is_empty() {
        return Reply::Fail(Sense::INVALID_FIELD);
    }
    let mut pages = vec![0; header];
    if header == 4 {
        pages[0] = (body.len() + 3) as u8;
    } else {
        pages[..2].copy_from_slice(&(body.len() as u16 + 6).to_be_bytes());
    }
    pages.extend(body);
    answer(pages, room)
}

fn inquiry() -> Vec<u8> {
    // A removable CD-ROM drive; SPC-less, as ATAPI drives are; 31 bytes follow.
    let mut drive = vec![0x05, 0x80, 0, 0x21, 31, 0, 0, 0];
    drive.extend(b"Innkeepr");
    drive.extend(b"CD-ROM          ");
    drive.extend(b"1   ");
    drive
}

/// GET CONFIGURATION: a CD-ROM, and nothing more.
fn configuration() -> Vec<u8> {
    const CD_ROM: u16 = 8;
    let mut drive = vec![0, 0, 0, 12, 0, 0];
    drive.extend(CD_ROM.to_be_bytes());
    // The list of profiles, of which this one is current.
    drive.extend([0, 0, 3, 4]);
    drive.extend(CD_ROM.to_be_bytes());
    drive.extend([1, 0]);
    drive
}

/// A frame's address, or the minute, second and frame of its clock.
fn address(frame: u32, clock: bool) -> [u8; 4] {
    if !clock {
        return frame.to_be_bytes();
    }
    let at = frame.saturating_add(PREGAP);
    [
        0,
        (at / 75 / 60) as u8,
        (at / 75 % 60) as u8,
        (at % 75) as u8,
    ]
}
