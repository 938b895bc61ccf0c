//! A CD-ROM drive on a port: its commands, and how its discs are changed. Spec: ATA8-ACS, "PACKET feature set".

use std::sync::Arc;

use block::BlockDevice;

use super::SharedCd;
use super::ata::{self, ABORTED, Outcome, Way};
use super::fis::Request;
use super::identify;
use crate::Line;
use crate::ports::locked;
use crate::scsi::{self, DriveReport, RemovableDrive, Reply, Sense, Tray};

#[derive(Debug)]
pub(super) struct Cd {
    pub(super) disc: Option<Arc<dyn BlockDevice>>,
    pub(super) tray: Tray,
    pub(super) moved: Arc<dyn Line>,
}

/// In the features: data moves by DMA.
const BY_DMA: u16 = 1;

impl Cd {
    /// A command; `packet` is what PACKET brings.
    pub(super) fn run(
        &mut self,
        request: &Request,
        packet: [u8; scsi::COMMAND_LEN],
    ) -> Result<Outcome, Sense> {
        Ok(match request.command {
            0xa0 => return self.packet(request, packet),
            0xa1 => Outcome::Answer {
                bytes: identify::cd(),
                way: Way::Pio,
            },
            0x08 | 0x90 => Outcome::Sign,
            0xef => ata::set_features(request),
            0x00 | 0xe0..=0xe3 | 0xe6 => Outcome::Done(0),
            0xe5 => Outcome::Done(0xff),
            _ => Outcome::Fail(ABORTED),
        })
    }

    fn packet(
        &mut self,
        request: &Request,
        packet: [u8; scsi::COMMAND_LEN],
    ) -> Result<Outcome, Sense> {
        let was_open = self.tray.open;
        let reply = scsi::run_cd(packet, self.disc.as_deref(), &mut self.tray);
        if self.tray.open != was_open {
            self.moved.set(self.tray.open);
        }
        let way = if request.features & BY_DMA != 0 {
            Way::Dma
        } else {
            Way::Pio
        };
        match reply {
            Reply::Done => Ok(Outcome::Done(0)),
            Reply::Answer(bytes) => Ok(Outcome::Answer { bytes, way }),
            Reply::Read { at, len } => Ok(Outcome::Read { at, len, way }),
            Reply::Fail(sense) => Err(sense),
            // No disc is written to.
            Reply::Write { .. } => Err(Sense::NO_SUCH_COMMAND),
        }
    }
}

/// The drive as whoever changes its discs sees it.
#[derive(Debug)]
pub struct SataTray(SharedCd);

impl SataTray {
    pub(super) fn new(cd: SharedCd) -> SataTray {
        SataTray(cd)
    }
}

impl RemovableDrive for SataTray {
    fn report(&self) -> DriveReport {
        let cd = locked(&self.0);
        cd.tray.report(cd.disc.is_some())
    }

    fn open(&self, force: bool) -> bool {
        locked(&self.0).tray.open(force)
    }

    fn close(&self) {
        let mut cd = locked(&self.0);
        let has_disc = cd.disc.is_some();
        cd.tray.close(has_disc);
    }

    fn change(&self, medium: Option<Arc<dyn BlockDevice>>) -> bool {
        let mut cd = locked(&self.0);
        cd.disc = medium;
        cd.tray.changed = true;
        true
    }
}
