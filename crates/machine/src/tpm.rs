//! A TPM, by the sockets of its process.

use std::sync::{Arc, Mutex};

use devices::tpm::{self, Swtpm, Tpm};

use crate::MachineError;
use crate::board::Board;
use crate::config::TpmConfig;

/// Answers it for whoever wakes the machine.
pub(crate) fn add(board: &mut Board, config: TpmConfig) -> Result<Arc<Mutex<Tpm>>, MachineError> {
    let mut process = Swtpm::new(config.data, config.control);
    // Whether there is a TPM at all turns out here, rather than in the guest.
    process
        .begin()
        .map_err(|source| MachineError::Tpm { source })?;
    let device = Tpm::new(process).map_err(|source| MachineError::Host {
        what: "thread or file descriptor",
        source,
    })?;
    let device = Arc::new(Mutex::new(device));
    board.add_mapped("tpm", tpm::BASE, tpm::LEN, Arc::clone(&device) as _)?;
    Ok(device)
}
