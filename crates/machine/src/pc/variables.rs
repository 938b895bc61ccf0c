//! Flash with firmware's variables, below its code: each guest has its own, in a file of its own or for as long
//! as its machine is there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use devices::pflash::{BLOCK, FlashMemory};
use engine::Engine;
use memory::{Gpa, GuestMemory, PageKind, RamRange};

use crate::MachineError;
use crate::config::VariablesConfig;
use crate::control::{MachineControl, Outcome};

/// The variables as they are kept.
#[derive(Debug)]
pub(crate) struct Variables {
    /// Where they come from: the guest's own file, or what every guest begins with.
    file: Arc<File>,
    /// What is written goes to the file.
    kept: bool,
    /// In bytes.
    len: u64,
}

impl Variables {
    /// Opens the guest's file.
    ///
    /// # Errors
    /// When it cannot be opened, or has a size that no flash has.
    pub(crate) fn open(config: &VariablesConfig) -> Result<Variables, MachineError> {
        let path = config.store.as_deref().unwrap_or(&config.template);
        let failed = |source| MachineError::Variables {
            path: path.to_owned(),
            source,
        };
        let kept = config.store.is_some();
        let file = File::options().read(true).write(kept).open(path);
        let file = file.map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if len == 0 || !len.is_multiple_of(BLOCK) {
            return Err(MachineError::FirmwareSize {
                path: path.to_owned(),
                len,
            });
        }
        Ok(Variables {
            file: Arc::new(file),
            kept,
            len,
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Will a reset find in the file what the guest has written?
    pub(crate) fn kept(&self) -> bool {
        self.kept
    }

    /// As flash at `base`, which is ROM.
    pub(crate) fn flash(
        &self,
        base: Gpa,
        memory: GuestMemory,
        engine: Arc<dyn Engine>,
        control: MachineControl,
    ) -> Arc<dyn FlashMemory> {
        Arc::new(VariableFlash {
            range: RamRange {
                base,
                len: self.len,
            },
            file: self.kept.then(|| Arc::clone(&self.file)),
            memory,
            engine,
            control,
        })
    }
}

#[derive(Debug)]
struct VariableFlash {
    range: RamRange,
    file: Option<Arc<File>>,
    memory: GuestMemory,
    engine: Arc<dyn Engine>,
    control: MachineControl,
}

impl FlashMemory for VariableFlash {
    fn show(&self, memory: bool) {
        let kind = if memory {
            PageKind::Rom
        } else {
            PageKind::Hidden
        };
        self.memory.set_kind(self.range, kind);
        if let Err(error) = self.engine.memory_changed() {
            let what = format!("the host cannot map the guest's flash: {error}");
            self.control.end(Outcome::EngineFailed(what));
        }
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        let at = Gpa(self.range.base.0.saturating_add(offset));
        if self.memory.read_own(at, into).is_err() {
            into.fill(0xff);
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let kept = self
            .file
            .as_ref()
            .is_none_or(|file| file.write_all_at(bytes, offset).is_ok());
        let at = Gpa(self.range.base.0.saturating_add(offset));
        kept && self.memory.write_own(at, bytes).is_ok()
    }
}
