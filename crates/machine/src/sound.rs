//! A sound card, and the file that gets what it plays.

use std::fs::File;
use std::sync::{Arc, Mutex};

use devices::sound::{Ac97, Ac97Parts, Sb16, Sb16Parts, Wave, WaveError, sb16};
use devices::virtio::Sound;

use crate::MachineError;
use crate::board::Board;
use crate::config::{SoundCard, SoundConfig};

pub(crate) fn add(board: &mut Board, config: &SoundConfig) -> Result<(), MachineError> {
    match config.card {
        SoundCard::Ac97 => add_ac97(board, output(config)?),
        SoundCard::Virtio => board.add_virtio(Sound::new(board.clock(), output(config)?)),
        SoundCard::Sb16 => add_sb16(board, output(config)?),
        // The timer has it.
        SoundCard::Speaker => Ok(()),
    }
}

/// What the PC speaker goes to, where that is what shall be heard.
pub(crate) fn speaker(config: Option<&SoundConfig>) -> Result<Option<Wave>, MachineError> {
    match config.filter(|_| is_speaker(config)) {
        Some(config) => output(config),
        None => Ok(None),
    }
}

/// Is it the PC speaker that somebody listens to?
pub(crate) fn is_speaker(config: Option<&SoundConfig>) -> bool {
    config.is_some_and(|it| it.card == SoundCard::Speaker && it.wave.is_some())
}

fn output(config: &SoundConfig) -> Result<Option<Wave>, MachineError> {
    let Some(path) = &config.wave else {
        return Ok(None);
    };
    let failed = |source| MachineError::Sound {
        path: path.clone(),
        source,
    };
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true);
    let output = Wave::begin(file.open(path).map_err(failed)?);
    let output = output.map_err(|WaveError::Begin { source }| failed(source))?;
    Ok(Some(output))
}

fn add_ac97(board: &mut Board, output: Option<Wave>) -> Result<(), MachineError> {
    let timer = board.timer();
    let (memory, clock) = (board.memory().clone(), board.clock());
    let mut alarm = None;
    board.plug(None, |line| {
        let card = Ac97::new(Ac97Parts {
            memory,
            clock,
            timer: Arc::clone(&timer) as _,
            line,
            output,
        });
        alarm = Some(card.alarm());
        Ok(card)
    })?;
    if let Some(alarm) = alarm {
        board.timers.connect(&timer, Arc::new(alarm));
    }
    Ok(())
}

fn add_sb16(board: &mut Board, output: Option<Wave>) -> Result<(), MachineError> {
    let timer = board.timer();
    let card = Arc::new(Mutex::new(Sb16::new(Sb16Parts {
        memory: board.memory().clone(),
        dma: board.isa_dma()?,
        clock: board.clock(),
        timer: Arc::clone(&timer) as _,
        irqs: sb16::INTERRUPTS.map(|irq| board.line(irq)),
        output,
    })));
    board.connect(&timer, &card);
    board.add_ports("sb16", card, &sb16::PORTS)
}
