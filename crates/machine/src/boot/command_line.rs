//! The kernel's command line: bounded, and ended by one zero byte.

use super::ImageError;

/// `text` as the guest reads it. `limit` counts bytes without the zero.
pub(super) fn encode(text: &str, limit: usize) -> Result<Vec<u8>, ImageError> {
    if text.bytes().any(|byte| byte == 0) {
        return Err(ImageError::CommandLineZero);
    }
    if text.len() > limit {
        return Err(ImageError::CommandLine {
            len: text.len(),
            limit,
        });
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    Ok(bytes)
}
