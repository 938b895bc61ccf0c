//! The file that a printer prints to, and how much of it there may be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A file that bytes are appended to, until it has as many as it may have; or none.
#[derive(Debug, Default)]
pub struct Paper {
    file: Option<File>,
    len: u64,
    /// Of the whole file, in bytes.
    limit: u64,
    /// The host's disk had no room for the last byte.
    failed: bool,
}

impl Paper {
    /// `file` is open for appending. What is in it already counts.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn new(file: File, limit: u64) -> io::Result<Paper> {
        Ok(Paper {
            len: file.metadata()?.len(),
            file: Some(file),
            limit,
            failed: false,
        })
    }

    /// Where none is in, the printer is out of it.
    #[must_use]
    pub fn none() -> Paper {
        Paper::default()
    }

    /// Whether the next byte is lost. A file that somebody has emptied meanwhile has room again.
    pub(super) fn is_out(&mut self) -> bool {
        let Some(file) = &self.file else { return true };
        if self.len >= self.limit {
            self.len = file.metadata().map_or(self.len, |file| file.len());
        }
        self.len >= self.limit || self.failed
    }

    /// What does not fit is lost, as on a printer that nobody looks at.
    pub(super) fn print(&mut self, byte: u8) {
        // A disk that was full may have room by now; one byte finds out.
        self.failed = false;
        if self.is_out() {
            return;
        }
        if let Some(file) = &self.file {
            // The kernel appends, wherever others have written meanwhile.
            self.failed = file.write_all_at(&[byte], self.len).is_err();
            self.len += u64::from(!self.failed);
        }
    }
}
