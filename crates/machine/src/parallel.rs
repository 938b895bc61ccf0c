//! The parallel port, and the file that its printer prints to.

use std::fs::File;
use std::sync::{Arc, Mutex};

use devices::parallel::{self, Paper, Parallel};

use crate::MachineError;
use crate::board::Board;
use crate::config::ParallelConfig;
use crate::ports;

pub(crate) fn add(board: &mut Board, config: &ParallelConfig) -> Result<(), MachineError> {
    let paper = match &config.file {
        None => Paper::none(),
        Some(path) => {
            let opened = File::options().append(true).create(true).open(path);
            let paper = opened.and_then(|file| Paper::new(file, config.limit));
            paper.map_err(|source| MachineError::Parallel {
                path: path.clone(),
                source,
            })?
        }
    };
    let port = Parallel::new(board.line(ports::PARALLEL_IRQ), paper);
    board.add_ports("parallel", Arc::new(Mutex::new(port)), &parallel::PORTS)
}
