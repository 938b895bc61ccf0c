//! Law 2: every device's state is a value. Each device of the crate is made, changed the way a
//! guest changes it, saved, and restored into a new one, which must then be the same.
//!
//! To add a device, add an [`Entry`] to the list of its family. A kind of device that is in the
//! sources and in no list fails `every_kind_is_registered`.

mod controllers;
mod ethernet;
mod kept;
mod legacy;
mod pc;
mod pci;
mod sound;
mod tpm;
mod usb;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use devices::{Device, DeviceState, RestoreError};

/// One kind of device. All clocks are at the same time, all outputs go nowhere.
struct Entry {
    kind: &'static str,
    /// One as it is after power-on.
    make: fn() -> Box<dyn Device>,
    /// What a guest and the world do to it, so that as much state as possible is not the default.
    change: fn(&mut dyn Device),
}

fn registry() -> Vec<Entry> {
    [
        legacy::entries(),
        controllers::entries(),
        ethernet::entries(),
        pc::entries(),
        pci::entries(),
        sound::entries(),
        tpm::entries(),
        usb::entries(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn changed(entry: &Entry) -> Box<dyn Device> {
    let mut device = (entry.make)();
    (entry.change)(device.as_mut());
    device
}

/// The value of every register in reach, read without a side effect that a second reader would miss.
fn registers(device: &mut dyn Device) -> Vec<u64> {
    (0..0x110).map(|offset| device.read(offset, 1)).collect()
}

#[test]
fn every_kind_is_what_it_says() {
    for entry in registry() {
        let device = (entry.make)();
        assert_eq!(device.kind(), entry.kind);
        assert_eq!(device.save().kind, entry.kind);
        assert!(device.save().version > 0);
    }
}

#[test]
fn a_restored_device_is_the_saved_one() {
    for entry in registry() {
        let mut device = changed(&entry);
        let saved = device.save();
        assert_ne!(
            saved,
            (entry.make)().save(),
            "{}: nothing changed",
            entry.kind
        );
        let mut other = (entry.make)();
        other.restore(&saved).unwrap();
        assert_eq!(other.save(), saved, "{}", entry.kind);
        assert_eq!(
            registers(other.as_mut()),
            registers(device.as_mut()),
            "{}",
            entry.kind
        );
        assert_eq!(other.save(), device.save(), "{}: after reading", entry.kind);
    }
}

#[test]
fn a_restore_replaces_whatever_was_there() {
    for entry in registry() {
        let fresh = (entry.make)().save();
        let mut device = changed(&entry);
        device.restore(&fresh).unwrap();
        assert_eq!(device.save(), fresh, "{}", entry.kind);
    }
}

#[test]
fn reset_twice_is_reset_once() {
    for entry in registry() {
        let mut device = changed(&entry);
        device.reset();
        let once = device.save();
        device.reset();
        assert_eq!(device.save(), once, "{}", entry.kind);
    }
}

#[test]
fn other_kinds_and_versions_are_refused() {
    for entry in registry() {
        let mut device = changed(&entry);
        let saved = device.save();
        let of_other_kind = DeviceState {
            kind: "toaster".to_owned(),
            ..saved.clone()
        };
        let newer = DeviceState {
            version: saved.version + 1,
            ..saved.clone()
        };
        let refused = device.restore(&of_other_kind);
        assert!(
            matches!(refused, Err(RestoreError::Kind { .. })),
            "{}",
            entry.kind
        );
        let refused = device.restore(&newer);
        assert!(
            matches!(refused, Err(RestoreError::Version { .. })),
            "{}",
            entry.kind
        );
        assert_eq!(device.save(), saved, "{}: unchanged", entry.kind);
    }
}

#[test]
fn a_cut_off_state_is_refused_and_changes_nothing() {
    for entry in registry() {
        let mut device = changed(&entry);
        let saved = device.save();
        for len in 0..saved.bytes.len() {
            let cut = DeviceState {
                bytes: saved.bytes[..len].to_vec(),
                ..saved.clone()
            };
            assert!(device.restore(&cut).is_err(), "{} at {len}", entry.kind);
        }
        assert_eq!(device.save(), saved, "{}", entry.kind);
    }
}

/// A state from outside is hostile: whatever it says, the device lives and answers.
#[test]
fn a_forged_state_is_survived() {
    for entry in registry() {
        let saved = changed(&entry).save();
        // Of a long one, which has tables such as a palette, each place of the beginning and some of the rest.
        let len = saved.bytes.len();
        for place in (0..len.min(400)).chain((400..len).step_by(61)) {
            for forged in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut state = saved.clone();
                state.bytes[place] = forged;
                let mut device = (entry.make)();
                if device.restore(&state).is_ok() {
                    registers(device.as_mut());
                    (entry.change)(device.as_mut());
                    device.expire(u64::MAX);
                    device.save();
                }
            }
        }
    }
}

#[test]
fn every_kind_is_registered() {
    let known: BTreeSet<String> = registry()
        .iter()
        .map(|entry| entry.kind.to_owned())
        .collect();
    let mut found = BTreeSet::new();
    kinds_in(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert_eq!(
        found.difference(&known).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    assert!(!found.is_empty());
}

/// Collects the kinds that sources name: as `const KIND`, or as the answer of `fn kind`.
fn kinds_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            kinds_in(&path, found);
            continue;
        }
        let is_test = path.ends_with("tests.rs") || path.ends_with("testing.rs");
        if is_test || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let answers = text
            .split("fn kind(&self) -> &'static str {")
            .skip(1)
            .filter(|rest| rest.trim_start().starts_with('"'));
        let constants = text.split("const KIND: &str = ").skip(1);
        for rest in answers.chain(constants) {
            found.extend(rest.split('"').nth(1).map(str::to_owned));
        }
    }
}
