//! A machine that goes on after it was saved: its state as bytes, its memory by a fork of this process.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use block::{BlockDevice, Checkpoint};
use memory::{Layer, Recording};

use crate::machine::Machine;
use crate::saved::SavedMachine;
use crate::sync::lock;
use crate::{LateMemory, MachineError, firmware, ports};

/// How long the readers of the guest's consoles may take.
const DRAIN: Duration = Duration::from_millis(500);

/// Where a machine is to be saved to.
#[derive(Debug)]
pub struct RecordOrder {
    /// Where the memory was recorded before: only what changed is written.
    pub layers: Vec<Layer>,
    /// Both empty; see [`memory::GuestMemory::record`].
    pub pages: File,
    pub index: File,
    /// Where what the guest wrote to its disks goes, in the disks' order: of those whose overlays leave nothing
    /// behind. May be shorter.
    pub overlays: Vec<File>,
    /// Where the code goes that was made of the guest's, for whoever goes on from here on this host. It is empty,
    /// and stays so where there is none, or the host cannot write it.
    pub code: Option<File>,
    /// Before that, code is made of all that the guest ran lately: it takes longer, and many are to have it.
    pub complete: bool,
}

/// A saved machine, whose memory is still being written.
#[derive(Debug)]
pub struct Recorded {
    /// [`SavedMachine::to_bytes`].
    pub state: Vec<u8>,
    pub recording: Recording,
}

/// What a machine begins as, instead of at power-on.
#[derive(Debug, Default, Clone)]
pub struct Beginning {
    /// [`SavedMachine::to_bytes`].
    pub state: Vec<u8>,
    /// Its memory, the lowest layer first.
    pub layers: Vec<Layer>,
    /// It is the machine itself that goes on, elsewhere, and no copy of it.
    pub moved: bool,
    /// What of its memory comes when it runs.
    pub late: Option<Arc<LateMemory>>,
    /// [`RecordOrder::code`], which the caller vouches for. What is of no use here is left out.
    pub code: Option<Arc<File>>,
}

impl Machine {
    /// While nothing of the guest runs.
    pub(crate) fn record(&mut self, order: &RecordOrder) -> Result<Recorded, MachineError> {
        self.settle_outside()?;
        for (disk, file) in self.peripherals.disks().zip(&order.overlays) {
            let saved = disk.save_overlay(file);
            saved.map_err(|source| MachineError::SaveOverlay {
                disk: disk.identify(),
                source,
            })?;
        }
        let state = self.save()?.to_bytes()?;
        if let Some(code) = &order.code
            && self.write_code(code, order.complete).is_err()
        {
            // It would only have spared time.
            let _ = code.set_len(0);
        }
        let recording = self
            .memory()
            .record(&order.layers, &order.pages, &order.index);
        Ok(Recorded {
            state,
            recording: recording?,
        })
    }

    fn write_code(&mut self, file: &File, complete: bool) -> io::Result<()> {
        let mut at = 0;
        for runner in &mut self.vcpus {
            if complete {
                runner.complete_code();
            }
            at += runner.write_code(file, at)?;
        }
        Ok(())
    }

    fn adopt_code(&mut self, file: &File) {
        let mut at = 0;
        for runner in &mut self.vcpus {
            match runner.adopt_code(file, at) {
                Some(len) => at += len,
                None => return,
            }
        }
    }

    /// While nothing of the guest runs. None: that disk keeps no such books.
    pub(crate) fn checkpoint(
        &self,
        number: usize,
        checkpoint: &Checkpoint,
    ) -> Result<Option<Vec<Range<u64>>>, MachineError> {
        let mut disks = self.peripherals.tracked();
        let Some((_, disk)) = disks.find(|(of, _)| *of == number) else {
            return Ok(None);
        };
        disk.checkpoint(checkpoint)
            .map_err(|source| MachineError::Flush {
                disk: disk.identify(),
                source,
            })
    }

    /// What is on its way out of the machine gets there.
    pub(crate) fn settle_outside(&self) -> Result<(), MachineError> {
        if let Some(console) = &self.peripherals.console {
            // Whoever does not read has not heard it, now or later.
            let _ = console.drain(DRAIN);
        }
        for disk in self.peripherals.disks() {
            // What its files hold is then what the guest has written.
            disk.flush().map_err(|source| MachineError::Flush {
                disk: disk.identify(),
                source,
            })?;
        }
        Ok(())
    }

    /// Becomes what was recorded, of another generation unless it has moved: the first run goes on there. Before
    /// any other run, and with all its devices attached. After an error the machine must not be run.
    ///
    /// # Errors
    /// When that was a machine of another shape, or a part of it is damaged.
    pub fn begin_as(&mut self, beginning: &Beginning) -> Result<(), MachineError> {
        let saved = SavedMachine::from_bytes(&beginning.state)?;
        let saved = self.fitting(&saved)?;
        self.check_shape(&saved)?;
        match &beginning.late {
            Some(late) => late.begin(self.memory(), &beginning.layers)?,
            None => self.memory().map_layers(&beginning.layers)?,
        }
        self.restore(&saved)?;
        if let Some(code) = &beginning.code {
            self.adopt_code(code);
        }
        if !beginning.moved && self.memory().rom().is_none() {
            firmware::renew_generation(self.memory())?;
            lock(&self.peripherals.power).raise_gpe(ports::GENERATION_EVENT);
        }
        Ok(())
    }
}
