//! A sound card, and the file that gets what it plays.

use std::fs::File;
use std::sync::Arc;

use devices::sound::{Ac97, Ac97Parts, Wave, WaveError};
use devices::virtio::Sound;

use crate::MachineError;
use crate::board::Board;
use crate::config::{SoundCard, SoundConfig};

pub(crate) fn add(board: &mut Board, config: &SoundConfig) -> Result<(), MachineError> {
    let failed = |source| MachineError::Sound {
        path: config.wave.clone(),
        source,
    };
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true);
    let output = Wave::begin(file.open(&config.wave).map_err(failed)?);
    let output = output.map_err(|WaveError::Begin { source }| failed(source))?;
    match config.card {
        SoundCard::Ac97 => add_ac97(board, output),
        SoundCard::Virtio => board.add_virtio(Sound::new(board.clock(), Some(output))),
    }
}

fn add_ac97(board: &mut Board, output: Wave) -> Result<(), MachineError> {
    let timer = board.timer();
    let (memory, clock) = (board.memory().clone(), board.clock());
    let mut alarm = None;
    board.plug(None, |line| {
        let card = Ac97::new(Ac97Parts {
            memory,
            clock,
            timer: Arc::clone(&timer) as _,
            line,
            output: Some(output),
        });
        alarm = Some(card.alarm());
        Ok(card)
    })?;
    if let Some(alarm) = alarm {
        board.timers.connect(&timer, Arc::new(alarm));
    }
    Ok(())
}
