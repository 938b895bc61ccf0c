//! Little-endian fields out of a file that may end anywhere.

use super::ImageError;

/// `len` bytes at `at`.
///
/// # Errors
/// When the file ends before; `what` names the thing that was wanted.
pub(super) fn slice_at<'a>(
    file: &'a [u8],
    at: u64,
    len: u64,
    what: &'static str,
) -> Result<&'a [u8], ImageError> {
    let found = file.len() as u64;
    let end = at.checked_add(len).filter(|&end| end <= found);
    let bounds = end.and_then(|end| Some((usize::try_from(at).ok()?, usize::try_from(end).ok()?)));
    bounds
        .and_then(|(from, to)| file.get(from..to))
        .ok_or(ImageError::Truncated {
            what,
            needed: at.saturating_add(len),
            found,
        })
}

pub(super) fn u8_at(file: &[u8], at: u64, what: &'static str) -> Result<u8, ImageError> {
    Ok(slice_at(file, at, 1, what)?[0])
}

macro_rules! field {
    ($name:ident, $kind:ty) => {
        pub(super) fn $name(file: &[u8], at: u64, what: &'static str) -> Result<$kind, ImageError> {
            let raw = slice_at(file, at, size_of::<$kind>() as u64, what)?;
            let mut bytes = [0; size_of::<$kind>()];
            bytes.copy_from_slice(raw);
            Ok(<$kind>::from_le_bytes(bytes))
        }
    };
}

field!(u16_at, u16);
field!(u32_at, u32);
field!(u64_at, u64);
