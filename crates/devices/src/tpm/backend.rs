//! Who does a TPM's commands.
//! Spec: TCG Trusted Platform Module Library, Part 2 "Structures", "Response Codes"; Part 3 "Commands".

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::BUFFER_LEN;
use crate::virtio::Doorbell;

/// Bytes of a command's or an answer's header: a tag, how long it is, and a code.
pub(super) const HEADER: usize = 10;
/// What is answered where nothing else can be: `TPM_RC_FAILURE`.
pub const FAILURE: [u8; HEADER] = plain(0x101);
/// `TPM_RC_COMMAND_SIZE`.
pub(super) const WRONG_SIZE: [u8; HEADER] = plain(0x142);
pub(super) const STARTUP_CLEAR: [u8; 12] = short(0x144, 0);
pub(super) const STARTUP_STATE: [u8; 12] = short(0x144, 1);
pub(super) const SHUTDOWN_CLEAR: [u8; 12] = short(SHUTDOWN, 0);
pub(super) const SHUTDOWN: u32 = 0x145;

/// `TPM_ST_NO_SESSIONS`.
const PLAIN: [u8; 2] = [0x80, 0x01];
/// Of each part. A TPM has some ten KiB.
const MOST: usize = 1 << 20;

/// An answer that is no more than a code.
const fn plain(code: u16) -> [u8; HEADER] {
    let [high, low] = code.to_be_bytes();
    [PLAIN[0], PLAIN[1], 0, 0, 0, HEADER as u8, 0, 0, high, low]
}

/// A command with one number of 16 bits.
const fn short(code: u32, value: u8) -> [u8; 12] {
    let [a, b, c, d] = code.to_be_bytes();
    [PLAIN[0], PLAIN[1], 0, 0, 0, 12, a, b, c, d, 0, value]
}

/// How long a command or an answer says that it is, where that can be.
pub(super) fn length(header: [u8; HEADER]) -> Option<usize> {
    let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
    let length = usize::try_from(length).ok()?;
    (HEADER..=BUFFER_LEN).contains(&length).then_some(length)
}

pub(super) fn code(message: &[u8]) -> Option<u32> {
    let code = message.get(6..HEADER)?.try_into().ok()?;
    Some(u32::from_be_bytes(code))
}

/// All that a TPM holds.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blobs {
    /// What it keeps without power.
    pub permanent: Vec<u8>,
    pub volatile: Vec<u8>,
}

impl Blobs {
    pub(super) fn are_plausible(&self) -> bool {
        self.permanent.len() <= MOST && self.volatile.len() <= MOST
    }

    /// May a part have so many bytes?
    pub(super) fn has_room(length: usize) -> bool {
        length <= MOST
    }
}

/// Why a TPM did not do what it was to do.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TpmError {
    #[error("swtpm has ended")]
    Gone,
    #[error("swtpm does not answer")]
    Late,
    #[error("nobody waits for the answer any more")]
    Interrupted,
    #[error("swtpm answers what makes no sense")]
    Nonsense,
    #[error("swtpm refuses its command {command} with {code:#x}")]
    Refused { command: u32, code: u32 },
}

/// Does a TPM's commands, one at a time.
pub trait Backend: Send + Debug {
    /// Power goes off, where it was on, and on.
    ///
    /// # Errors
    /// When there is no TPM then.
    fn power_on(&mut self) -> Result<(), TpmError>;
    /// Does a command of a plausible length. Answers as the TPM does, in at most [`BUFFER_LEN`] bytes. It ends soon
    /// when `hurry` is rung.
    ///
    /// # Errors
    /// When there is no answer.
    fn execute(&mut self, command: &[u8], hurry: &Doorbell) -> Result<Vec<u8>, TpmError>;
    /// # Errors
    /// When there is no TPM to ask.
    fn save(&mut self) -> Result<Blobs, TpmError>;
    /// Becomes what was saved.
    ///
    /// # Errors
    /// When the TPM does not take it.
    fn restore(&mut self, blobs: &Blobs) -> Result<(), TpmError>;
    /// Power goes off, for good as far as this value is concerned.
    fn power_off(&mut self);
}
