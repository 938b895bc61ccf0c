//! Commands of a CD-ROM drive. Spec: SFF-8020i, "ATA command protocol"; MMC-3, "Commands"; SPC-3.
#![allow(
    clippy::cast_possible_truncation,
    reason = "fields of answers are parts of larger numbers"
)]

use super::channel::Channel;
use super::identify;
use super::medium::FRAME;
use super::sense::Sense;
use super::state::error;
use super::transfer::What;

/// In the features register: data moves by DMA.
const BY_DMA: u8 = 1;
/// What a drive moves at a time where the guest does not say. Bytes.
const DEFAULT_LIMIT: u16 = 0xfffe;
const LEAD_OUT: u8 = 0xaa;
/// Two seconds, in frames of 75 a second: where track 1 begins by the clock.
const PREGAP: u32 = 150;

impl Channel {
    pub(super) fn cd_command(&mut self, command: u8) {
        match command {
            0xa0 => self.begin_packet(),
            0xa1 => self.begin_answer(identify::cd()),
            0x08 => {
                let unit = usize::from(self.state.selected & 1);
                self.sign(unit);
            }
            // It tells an ATA driver what it is by its signature.
            0xec => {
                let unit = usize::from(self.state.selected & 1);
                self.sign(unit);
                let cylinder = self.state.drives[unit].task.address;
                self.fail(error::ABORTED);
                self.state.drives[unit].task.address = cylinder;
            }
            0x90 => self.diagnose(),
            0xef => self.set_features(),
            0x00 | 0xe0..=0xe3 => self.succeed(),
            _ => self.fail(error::ABORTED),
        }
    }

    /// Fails a packet command, for REQUEST SENSE to say why.
    pub(super) fn fail_packet(&mut self, sense: Sense) {
        if let Some((_, state)) = self.selected() {
            state.sense = sense;
            state.task.count = super::channel::REASON_COMMAND | super::channel::REASON_IN;
        }
        self.fail(sense.key << 4 | if sense.key == 5 { error::ABORTED } else { 0 });
    }

    pub(super) fn packet(&mut self, packet: &[u8]) {
        let mut command = [0; 12];
        command.copy_from_slice(&packet[..12]);
        let Some((drive, state)) = self.selected() else {
            return;
        };
        let inquires = matches!(command[0], 0x03 | 0x12);
        if state.changed && !inquires && command[0] != 0x4a {
            state.changed = false;
            return self.fail_packet(Sense::MEDIUM_CHANGED);
        }
        let has_disc = drive.medium().is_some() && !state.open;
        let needs_disc = matches!(
            command[0],
            0x00 | 0x25 | 0x28 | 0xa8 | 0xbe | 0x43 | 0x42 | 0x51 | 0x2b | 0xad
        );
        if needs_disc && !has_disc {
            return self.fail_packet(Sense::NO_MEDIUM);
        }
        if !inquires {
            state.sense = Sense::NOTHING;
        }
        self.do_packet(command);
    }

    fn do_packet(&mut self, command: [u8; 12]) {
        let half = |at: usize| u16::from_be_bytes([command[at], command[at + 1]]);
        let word = |at: usize| {
            u32::from_be_bytes([
                command[at],
                command[at + 1],
                command[at + 2],
                command[at + 3],
            ])
        };
        match command[0] {
            // TEST UNIT READY, SEEK, SET CD SPEED
            0x00 | 0x2b | 0xbb => self.succeed(),
            0x03 => self.request_sense(command[4].into()),
            0x12 => self.answer(inquiry(), command[4].into()),
            0x1b => self.start_stop(command[4]),
            0x1e => {
                if let Some((_, state)) = self.selected() {
                    state.locked = command[4] & 1 != 0;
                }
                self.succeed();
            }
            0x25 => {
                let mut answer = (self.frames().saturating_sub(1) as u32)
                    .to_be_bytes()
                    .to_vec();
                answer.extend((FRAME as u32).to_be_bytes());
                self.answer(answer, 8);
            }
            0x28 => self.read_frames(word(2), half(7).into()),
            0xa8 => self.read_frames(word(2), word(6)),
            0xbe => self.read_cd(command),
            0x43 => self.table_of_contents(command),
            0x46 => self.answer(configuration(), half(7)),
            0x4a => self.event_status(command),
            0x51 => {
                let mut answer = vec![0; 34];
                // Bytes that follow; the disc is complete, with one session and track.
                answer[1] = 32;
                answer[2] = 0x0e;
                answer[3..7].fill(1);
                self.answer(answer, half(7));
            }
            0x1a => self.mode_sense(command[2], command[4].into(), 4),
            0x5a => self.mode_sense(command[2], half(7), 8),
            0xbd => self.answer(vec![0; 8], half(8)),
            _ => self.fail_packet(Sense::NO_SUCH_COMMAND),
        }
    }

    fn frames(&mut self) -> u64 {
        self.selected().map_or(0, |(drive, _)| drive.blocks())
    }

    /// How much goes at a time, and whether by DMA.
    fn manner(&mut self) -> (u32, bool) {
        let Some((_, state)) = self.selected() else {
            return (0, false);
        };
        let [_, middle, high] = state.task.address;
        let limit = match u16::from_le_bytes([middle, high]) {
            0 => DEFAULT_LIMIT,
            limit => limit,
        };
        // All but the last piece are even.
        let limit = if limit == 1 { 2 } else { limit & !1 };
        (limit.into(), state.task.features & BY_DMA != 0)
    }

    /// Answers with as much of `rest` as the guest has room for.
    fn answer(&mut self, mut rest: Vec<u8>, room: u16) {
        rest.truncate(room.into());
        if rest.is_empty() {
            return self.succeed();
        }
        let (limit, dma) = self.manner();
        self.begin(What::PacketAnswer { rest, limit }, dma);
    }

    fn read_frames(&mut self, first: u32, count: u32) {
        let end = u64::from(first) + u64::from(count);
        // More than a disc has is out of range; what is left counts in 32 MiB, as disks have it.
        if end > self.frames() || count > 65536 {
            return self.fail_packet(Sense::OUT_OF_RANGE);
        }
        if count == 0 {
            return self.succeed();
        }
        let (limit, dma) = self.manner();
        let (next, left) = (u64::from(first) * FRAME, u64::from(count) * FRAME);
        self.begin(What::PacketRead { next, left, limit }, dma);
    }

    /// Data alone: no headers, no sub-channels.
    fn read_cd(&mut self, command: [u8; 12]) {
        const USER_DATA: u8 = 0x10;
        let first = u32::from_be_bytes([command[2], command[3], command[4], command[5]]);
        let count = u32::from_be_bytes([0, command[6], command[7], command[8]]);
        match command[9] & 0xf8 {
            0 => self.succeed(),
            USER_DATA => self.read_frames(first, count),
            _ => self.fail_packet(Sense::INVALID_FIELD),
        }
    }

    fn request_sense(&mut self, room: u16) {
        let Some((_, state)) = self.selected() else {
            return;
        };
        let sense = std::mem::replace(&mut state.sense, Sense::NOTHING);
        self.answer(sense.data(), room);
    }

    fn start_stop(&mut self, bits: u8) {
        const LOAD_EJECT: u8 = 1 << 1;
        const START: u8 = 1 << 0;
        let Some((_, state)) = self.selected() else {
            return;
        };
        if bits & LOAD_EJECT != 0 {
            let open = bits & START == 0;
            if open && state.locked {
                return self.fail_packet(Sense::REMOVAL_PREVENTED);
            }
            state.open = open;
        }
        self.succeed();
    }

    /// One session with one track of data.
    fn table_of_contents(&mut self, command: [u8; 12]) {
        let clock = command[1] & 2 != 0;
        let room = u16::from_be_bytes([command[7], command[8]]);
        let format = match (command[2] & 0xf, command[9] >> 6) {
            (0, old) => old,
            (new, _) => new,
        };
        let end = self.frames().min(u32::MAX.into()) as u32;
        let entry = |track: u8, at: u32| {
            let mut entry = vec![0, 0x14, track, 0];
            entry.extend(address(at, clock));
            entry
        };
        let body = match format {
            0 => match command[6] {
                0..=1 => [entry(1, 0), entry(LEAD_OUT, end)].concat(),
                LEAD_OUT => entry(LEAD_OUT, end),
                _ => return self.fail_packet(Sense::INVALID_FIELD),
            },
            1 => entry(1, 0),
            _ => return self.fail_packet(Sense::INVALID_FIELD),
        };
        let mut answer = (body.len() as u16 + 2).to_be_bytes().to_vec();
        answer.extend([1, 1]);
        answer.extend(body);
        self.answer(answer, room);
    }

    /// Polled for news of the medium.
    fn event_status(&mut self, command: [u8; 12]) {
        const POLLED: u8 = 1;
        const MEDIA: u8 = 1 << 4;
        const NEW_MEDIA: u8 = 2;
        let room = u16::from_be_bytes([command[7], command[8]]);
        if command[1] & POLLED == 0 {
            return self.fail_packet(Sense::INVALID_FIELD);
        }
        let Some((drive, state)) = self.selected() else {
            return;
        };
        let answer = if command[4] & MEDIA == 0 {
            vec![0, 2, 0x80, MEDIA]
        } else {
            let present = drive.medium().is_some() && !state.open;
            let event = if state.changed && present {
                NEW_MEDIA
            } else {
                0
            };
            let status = u8::from(state.open) | u8::from(present) << 1;
            vec![0, 6, 4, MEDIA, event, status, 0, 0]
        };
        self.answer(answer, room);
    }

    fn mode_sense(&mut self, page: u8, room: u16, header: usize) {
        let pages: &[(u8, &[u8])] = &[
            // Read error recovery; CD-ROM; capabilities: it reads, and its tray opens.
            (0x01, &[0x01, 6, 0, 5, 0, 0, 0, 0]),
            (0x0d, &[0x0d, 6, 0, 0, 0, 60, 0, 75]),
            (
                0x2a,
                &[
                    0x2a, 18, 0x3b, 0, 0x70, 0x60, 0x29, 0, 0x02, 0xc2, 0, 2, 0, 0, 0x02, 0xc2, 0,
                    0, 0, 0,
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
            return self.fail_packet(Sense::INVALID_FIELD);
        }
        let mut answer = vec![0; header];
        if header == 4 {
            answer[0] = (body.len() + 3) as u8;
        } else {
            answer[..2].copy_from_slice(&(body.len() as u16 + 6).to_be_bytes());
        }
        answer.extend(body);
        self.answer(answer, room);
    }
}

fn inquiry() -> Vec<u8> {
    // A removable CD-ROM drive; SPC-less, as ATAPI drives are; 31 bytes follow.
    let mut answer = vec![0x05, 0x80, 0, 0x21, 31, 0, 0, 0];
    answer.extend(b"Innkeepr");
    answer.extend(b"CD-ROM          ");
    answer.extend(b"1   ");
    answer
}

/// GET CONFIGURATION: a CD-ROM, and nothing more.
fn configuration() -> Vec<u8> {
    const CD_ROM: u16 = 8;
    let mut answer = vec![0, 0, 0, 12, 0, 0];
    answer.extend(CD_ROM.to_be_bytes());
    // The list of profiles, of which this one is current.
    answer.extend([0, 0, 3, 4]);
    answer.extend(CD_ROM.to_be_bytes());
    answer.extend([1, 0]);
    answer
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
