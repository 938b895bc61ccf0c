//! What tells that a file with an engine's code is as it was left: it is run as it is, so whoever could change it
//! could do whatever the guest's process may.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use blake3::Hasher;

/// Bytes of a key, and of a seal.
pub const LEN: usize = 32;
const READ_AT_ONCE: usize = 1 << 20;

/// The seal of the whole file, which only those can make who have the key: keyed BLAKE3, which reads some gigabytes
/// a second. Where others who have the same descriptor have read to does not matter.
///
/// # Errors
/// When the host cannot read it.
pub fn code_seal(file: &File, key: &[u8; LEN]) -> io::Result<[u8; LEN]> {
    let mut hasher = Hasher::new_keyed(key);
    let mut bytes = vec![0; READ_AT_ONCE];
    let mut at = 0;
    loop {
        match file.read_at(&mut bytes, at) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(read) => {
                hasher.update(&bytes[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
