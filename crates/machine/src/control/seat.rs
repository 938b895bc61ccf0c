//! Who sits at a machine: its screen, its keyboard, its mouse.

use std::sync::{Arc, Mutex};

use devices::i8042::{I8042, MouseEvent};
use devices::usb::HidHandle;
use devices::vga::Screen;
use devices::virtio::{KeyboardHandle, TabletEvent, TabletHandle};

use super::MachineControl;
use super::keyboards::{Keyboard, Keyboards, Place};
use crate::sync::lock;

/// What there is of them.
#[derive(Debug, Default)]
pub(super) struct Seat {
    screen: Mutex<Option<Screen>>,
    mouse: Mutex<Option<Arc<Mutex<I8042>>>>,
    tablet: Mutex<Option<TabletHandle>>,
    usb: Mutex<Option<HidHandle>>,
    keyboards: Mutex<Keyboards>,
}

impl Seat {
    pub(super) fn disconnect(&self) {
        *lock(&self.screen) = None;
        *lock(&self.mouse) = None;
        *lock(&self.tablet) = None;
        *lock(&self.usb) = None;
        *lock(&self.keyboards) = Keyboards::default();
    }
}

impl MachineControl {
    /// What the guest shows. It can be looked at for as long as somebody likes, also when the guest has
    /// ended.
    #[must_use]
    pub fn screen(&self) -> Option<Screen> {
        lock(&self.shared.seat.screen).clone()
    }

    /// A key goes down or up: all its scan codes of set 2. False where the guest does not read its
    /// keyboard and has no room for them: they are lost.
    #[must_use]
    pub fn key(&self, scan_codes: &[u8]) -> bool {
        lock(&self.shared.seat.keyboards).key(scan_codes)
    }

    /// The mouse moves, or its buttons change.
    pub fn mouse(&self, event: MouseEvent) {
        if let Some(mouse) = lock(&self.shared.seat.mouse).clone() {
            lock(&mouse).mouse(event);
        }
    }

    /// The hand is there. False where the guest has no driver for the tablet: its mouse is to be moved.
    #[must_use]
    pub fn point(&self, event: TabletEvent) -> bool {
        let tablet = lock(&self.shared.seat.tablet).clone();
        if tablet.is_some_and(|tablet| tablet.point(event)) {
            return true;
        }
        let usb = lock(&self.shared.seat.usb).clone();
        usb.is_some_and(|usb| usb.point(event))
    }

    pub(crate) fn connect_usb(&self, usb: HidHandle) {
        self.connect_keys(Place::Usb, Arc::new(usb.clone()));
        *lock(&self.shared.seat.usb) = Some(usb);
    }

    pub(crate) fn connect_tablet(&self, tablet: TabletHandle) {
        *lock(&self.shared.seat.tablet) = Some(tablet);
    }

    pub(crate) fn connect_virtio_keyboard(&self, keyboard: KeyboardHandle) {
        self.connect_keys(Place::Virtio, Arc::new(keyboard));
    }

    pub(crate) fn connect_screen(&self, screen: Screen) {
        *lock(&self.shared.seat.screen) = Some(screen);
    }

    pub(crate) fn connect_keyboard(&self, keyboard: Arc<Mutex<I8042>>) {
        self.connect_keys(Place::Pc, Arc::clone(&keyboard) as _);
        *lock(&self.shared.seat.mouse) = Some(keyboard);
    }

    fn connect_keys(&self, place: Place, keyboard: Arc<dyn Keyboard>) {
        lock(&self.shared.seat.keyboards).connect(place, keyboard);
    }
}
