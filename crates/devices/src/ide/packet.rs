//! Commands of a CD-ROM drive, as packets bring them. Spec: SFF-8020i, "ATA command protocol".

use super::channel::Channel;
use super::identify;
use super::state::error;
use super::transfer::{PACKET_LEN, What};
use crate::scsi::{self, Reply, Sense};

/// In the features register: data moves by DMA.
const BY_DMA: u8 = 1;
/// What a drive moves at a time where the guest does not say. Bytes.
const DEFAULT_LIMIT: u16 = 0xfffe;

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
            state.tray.sense = sense;
            state.task.count = super::channel::REASON_COMMAND | super::channel::REASON_IN;
        }
        self.fail(sense.key << 4 | if sense.key == 5 { error::ABORTED } else { 0 });
    }

    pub(super) fn packet(&mut self, packet: &[u8]) {
        let mut command = [0; PACKET_LEN];
        command.copy_from_slice(&packet[..PACKET_LEN]);
        let Some((drive, state)) = self.selected() else {
            return;
        };
        let was_open = state.tray.open;
        let disc = drive.medium().map(|disc| &**disc);
        let reply = scsi::run_cd(command, disc, &mut state.tray);
        let open = state.tray.open;
        if open != was_open {
            self.trays.set(open);
        }
        match reply {
            Reply::Done => self.succeed(),
            Reply::Answer(rest) => {
                let (limit, dma) = self.manner();
                self.begin(What::PacketAnswer { rest, limit }, dma);
            }
            Reply::Read { at, len } => {
                let (limit, dma) = self.manner();
                let (next, left) = (at, len);
                self.begin(What::PacketRead { next, left, limit }, dma);
            }
            Reply::Fail(sense) => self.fail_packet(sense),
            // No disc is written to.
            Reply::Write { .. } => self.fail_packet(Sense::NO_SUCH_COMMAND),
        }
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
}
