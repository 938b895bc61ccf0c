//! The default pipe: requests that come and are answered packet by packet, where devices know whole ones.
//! Spec: USB 2.0, "Control Transfers", "Set Address".

use serde::{Deserialize, Serialize};

use super::transactions::Reply;
use crate::usb::device::{Answer, Setup, UsbDevice};

/// SET ADDRESS, which devices are not asked: here is who knows where they are.
const SET_ADDRESS: (u8, u8) = (0x00, 5);

/// What has come of a request. Between requests everything stalls.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    None,
    /// One whose answer has not been asked for.
    Asked,
    /// The rest of its answer.
    Answered { rest: Vec<u8> },
    /// One with data, which has come so far.
    Told { data: Vec<u8> },
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pipe {
    setup: [u8; 8],
    stage: Stage,
}

impl Pipe {
    pub(super) fn is_sound(&self) -> bool {
        let most = usize::from(Setup::parse(self.setup).length);
        match &self.stage {
            Stage::None | Stage::Asked => true,
            Stage::Answered { rest } => rest.len() <= most,
            Stage::Told { data } => data.len() <= most,
        }
    }

    /// A request begins, whatever went before.
    pub(super) fn set_up(&mut self, setup: [u8; 8]) {
        self.setup = setup;
        self.stage = if Setup::parse(setup).is_inward() {
            Stage::Asked
        } else {
            Stage::Told { data: Vec::new() }
        };
    }

    /// Data for the device; or, after an answer, that it was taken.
    pub(super) fn give(&mut self, packet: &[u8]) -> Reply {
        let most = usize::from(Setup::parse(self.setup).length);
        match &mut self.stage {
            Stage::Told { data } if data.len() + packet.len() <= most => {
                data.extend(packet);
                Reply::Taken
            }
            Stage::Asked | Stage::Answered { .. } if packet.is_empty() => {
                self.stage = Stage::None;
                Reply::Taken
            }
            _ => self.stall(),
        }
    }

    /// The next of an answer, `largest` bytes at most; or, after data for the device, that it was taken. `address` is the
    /// device's, which the request may change.
    pub(super) fn take(
        &mut self,
        device: &mut dyn UsbDevice,
        address: &mut u8,
        largest: usize,
    ) -> Reply {
        let setup = Setup::parse(self.setup);
        match &mut self.stage {
            Stage::None => Reply::Stall,
            Stage::Asked => match device.control(&setup, &[]) {
                Answer::Data(mut rest) => {
                    rest.truncate(setup.length.into());
                    let packet = Pipe::next(&mut rest, largest);
                    self.stage = Stage::Answered { rest };
                    packet
                }
                Answer::Wait => Reply::Wait,
                Answer::Stall => self.stall(),
            },
            Stage::Answered { rest } => Pipe::next(rest, largest),
            Stage::Told { data } => {
                let answer = if (setup.kind, setup.request) == SET_ADDRESS {
                    // Seven bits.
                    *address = (setup.value & 0x7f).to_le_bytes()[0];
                    Answer::Data(Vec::new())
                } else {
                    device.control(&setup, data)
                };
                match answer {
                    Answer::Data(_) => {
                        self.stage = Stage::None;
                        Reply::Data(Vec::new())
                    }
                    Answer::Wait => Reply::Wait,
                    Answer::Stall => self.stall(),
                }
            }
        }
    }

    fn next(rest: &mut Vec<u8>, largest: usize) -> Reply {
        Reply::Data(rest.drain(..rest.len().min(largest)).collect())
    }

    fn stall(&mut self) -> Reply {
        self.stage = Stage::None;
        Reply::Stall
    }
}
