//! The measurement of KVM, once per boot of the host.
//!
//! It takes some tens of milliseconds, which every start of a guest would pay. The result is kept in
//! the person's cache directory with the boot's identity; a file that is missing, old or damaged only
//! means measuring again.

use std::fs;
use std::path::{Path, PathBuf};

use engine::EngineError;
use engine_kvm::Measurement;
use serde::{Deserialize, Serialize};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const VERSION: u16 = 1;
/// No measurement is larger; a file that is was not written here.
const MOST: u64 = 1 << 16;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    version: u16,
    boot: String,
    measurement: Measurement,
}

/// The measurement of this boot of the host, made now if there is none yet.
pub(crate) fn measurement() -> Result<Measurement, EngineError> {
    let (Some(path), Some(boot)) = (path(), boot()) else {
        return engine_kvm::measure();
    };
    if let Some(kept) = load(&path, &boot) {
        return Ok(kept);
    }
    let measurement = engine_kvm::measure()?;
    // A cache that cannot be written costs time at the next start, nothing else.
    let _ = store(&path, boot, &measurement);
    Ok(measurement)
}

fn boot() -> Option<String> {
    let id = fs::read_to_string(BOOT_ID).ok()?;
    Some(id.trim().to_owned())
}

fn path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")))?;
    cache
        .is_absolute()
        .then(|| cache.join("innkeeper/kvm-measurement"))
}

fn load(path: &Path, boot: &str) -> Option<Measurement> {
    // Whoever may read KVM's device now may differ from who measured.
    if fs::File::open("/dev/kvm").is_err() || fs::metadata(path).ok()?.len() > MOST {
        return None;
    }
    decode(&fs::read(path).ok()?, boot)
}

fn decode(bytes: &[u8], boot: &str) -> Option<Measurement> {
    let kept: Kept = postcard::from_bytes(bytes).ok()?;
    (kept.version == VERSION && kept.boot == boot).then_some(kept.measurement)
}

fn store(path: &Path, boot: String, measurement: &Measurement) -> std::io::Result<()> {
    let kept = Kept {
        version: VERSION,
        boot,
        measurement: measurement.clone(),
    };
    let bytes = postcard::to_stdvec(&kept).map_err(std::io::Error::other)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Another process may be reading: the file appears whole.
    let draft = path.with_extension(std::process::id().to_string());
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests;
