//! Which of a guest's keyboards gets a key.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use devices::i8042::I8042;
use devices::usb::HidHandle;
use devices::virtio::KeyboardHandle;

use crate::sync::lock;

/// Keys that are held at once; of more it is not known who holds them. More than there are on a keyboard.
const MOST: usize = 256;
const RELEASE: u8 = 0xf0;

/// One keyboard. Keys are scan codes of set 2.
pub(super) trait Keyboard: Send + Sync + Debug {
    /// `None` where the guest does not read it: the key is for another. False where it has no room: it is lost.
    fn key(&self, scan_codes: &[u8]) -> Option<bool>;

    /// A key goes up that went down here.
    fn let_go(&self, scan_codes: &[u8]) -> bool {
        // Who reads it no more holds no keys of it either.
        self.key(scan_codes).unwrap_or(true)
    }
}

impl Keyboard for HidHandle {
    fn key(&self, scan_codes: &[u8]) -> Option<bool> {
        HidHandle::key(self, scan_codes)
    }

    fn let_go(&self, scan_codes: &[u8]) -> bool {
        HidHandle::let_go(self, scan_codes)
    }
}

impl Keyboard for KeyboardHandle {
    fn key(&self, scan_codes: &[u8]) -> Option<bool> {
        KeyboardHandle::key(self, scan_codes)
    }
}

impl Keyboard for Mutex<I8042> {
    fn key(&self, scan_codes: &[u8]) -> Option<bool> {
        Some(lock(self).key(scan_codes))
    }
}

/// Where one is: those before others are asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Usb,
    Virtio,
    Pc,
}

#[derive(Debug, Default)]
pub(super) struct Keyboards {
    places: [Option<Arc<dyn Keyboard>>; 3],
    /// Keys that are down, and at which places: a bit for each.
    held: BTreeMap<Vec<u8>, u8>,
}

impl Keyboards {
    pub(super) fn connect(&mut self, place: Place, keyboard: Arc<dyn Keyboard>) {
        self.places[place as usize] = Some(keyboard);
    }

    /// As [`super::MachineControl::key`]. A key goes up where it went down, whatever the guest reads by now.
    pub(super) fn key(&mut self, scan_codes: &[u8]) -> bool {
        // Pause has its release in it, and is down nowhere.
        let down = !scan_codes.contains(&RELEASE);
        let name = name(scan_codes);
        if !down && let Some(holders) = self.held.remove(&name) {
            let all = self.places.iter().enumerate();
            let holders = all.filter(|(place, _)| holders & 1 << place != 0);
            let mut taken = true;
            for keyboard in holders.filter_map(|(_, keyboard)| keyboard.as_ref()) {
                taken &= keyboard.let_go(scan_codes);
            }
            return taken;
        }
        for (place, keyboard) in self.places.iter().enumerate() {
            let taken = keyboard.as_ref().and_then(|it| it.key(scan_codes));
            let Some(taken) = taken else { continue };
            if taken && down && (self.held.len() < MOST || self.held.contains_key(&name)) {
                *self.held.entry(name).or_default() |= 1 << place;
            }
            return taken;
        }
        false
    }
}

/// The same whether the key goes down or up: what print screen says comes in another order then.
fn name(scan_codes: &[u8]) -> Vec<u8> {
    let codes = scan_codes.iter().copied();
    let mut name: Vec<u8> = codes.filter(|code| *code != RELEASE).collect();
    name.sort_unstable();
    name
}

#[cfg(test)]
mod tests;
