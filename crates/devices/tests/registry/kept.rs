//! States that were kept, as they were written when their versions were new: they are read for good.
//!
//! `kept/KIND.VERSION` has the bytes of a device that a guest had changed, `kept/README.md` says who wrote them. A
//! state whose fields change gets a new version, a step that makes it of the one before ([`devices::upgrade`]), and a
//! file beside the older ones: `KEEP_STATES=1 cargo test -p devices --test registry kept` writes what is missing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use devices::DeviceState;

use crate::{changed, registry};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kept")
}

/// By kind and version.
fn kept() -> BTreeMap<(String, u16), Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some((kind, version)) = name.rsplit_once('.')
            && let Ok(version) = version.parse()
        {
            found.insert((kind.to_owned(), version), fs::read(&path).unwrap());
        }
    }
    found
}

/// The changed device's, but where a kept one has to stay.
fn keep_what_is_missing() {
    for entry in registry() {
        let state = changed(&entry).save();
        let path = folder().join(format!("{}.{}", state.kind, state.version));
        if !path.exists() {
            fs::write(path, state.bytes).unwrap();
        }
    }
}

#[test]
fn kept_states_of_every_version_are_read() {
    if env::var_os("KEEP_STATES").is_some() {
        keep_what_is_missing();
    }
    let kept = kept();
    for entry in registry() {
        let present = (entry.make)().save().version;
        for version in 1..=present {
            let kind = entry.kind.to_owned();
            let Some(bytes) = kept.get(&(kind.clone(), version)) else {
                panic!("no state of {kind} of version {version} was kept: see kept.rs");
            };
            let state = DeviceState {
                kind,
                version,
                bytes: bytes.clone(),
            };
            let mut device = (entry.make)();
            let read = device.restore(&state);
            assert_eq!(read, Ok(()), "{} of version {version}", entry.kind);
            assert_ne!(device.save(), (entry.make)().save(), "{}", entry.kind);
            if version == present {
                // A field that came, went or moved shows here.
                let again = device.save();
                assert_eq!(again, state, "{}: its version is to be raised", entry.kind);
            }
        }
    }
}

#[test]
fn nothing_is_kept_of_kinds_that_are_gone() {
    let mut kept = kept();
    for entry in registry() {
        kept.retain(|(kind, _), _| kind != entry.kind);
    }
    assert_eq!(kept, BTreeMap::new());
}
