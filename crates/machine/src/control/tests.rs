use std::sync::Arc;

use devices::Lines;
use devices::virtio::NoRoom;
use memory::GuestMemory;

use super::{FullDisk, MachineControl, MachineLines, Outcome, Request};
use crate::a20::A20Gate;
use crate::config::Reboot;
use crate::layout::{MIN_MEMORY, ram_ranges};

fn a20() -> A20Gate {
    A20Gate::new(GuestMemory::new(&ram_ranges(MIN_MEMORY)).expect("memory"))
}

#[test]
fn the_first_end_counts_and_beats_everything() {
    let control = MachineControl::default();
    assert!(!control.attention());
    control.pause();
    assert_eq!(control.request(), Some(Request::Pause));
    control.reset();
    assert_eq!(control.request(), Some(Request::Reset));
    control.exit(3);
    control.stop();
    let end = Request::End(Outcome::DeviceExit(3));
    assert_eq!(control.request(), Some(end));
    control.ended();
    control.reset_done();
    control.resume();
    assert!(!control.attention());
    assert_eq!(control.request(), None);
}

#[test]
fn a_guests_reset_follows_the_policy() {
    let control = MachineControl::default();
    let lines = |reboot| MachineLines {
        control: control.clone(),
        reboot,
        a20: a20(),
    };
    lines(Reboot::Restart).reset();
    assert_eq!(control.request(), Some(Request::Reset));
    lines(Reboot::Exit).reset();
    assert_eq!(control.request(), Some(Request::End(Outcome::Reset)));
}

#[test]
fn only_a_sleeper_is_woken_and_a_reset_comes_first() {
    let control = MachineControl::default();
    let lines = MachineLines {
        control: control.clone(),
        reboot: Reboot::Restart,
        a20: a20(),
    };
    lines.wake();
    assert!(!control.attention());
    lines.suspend();
    assert_eq!(control.request(), Some(Request::Sleep));
    control.pause();
    assert_eq!(control.request(), Some(Request::Pause));
    lines.wake();
    control.resume();
    assert_eq!(control.request(), Some(Request::Wake));
    control.reset();
    assert_eq!(control.request(), Some(Request::Reset));
    control.reset_done();
    control.woken();
    assert!(!control.attention());
}

#[test]
fn a_bell_keeps_no_machine_and_harms_nobody_after_it() {
    let control = MachineControl::default();
    let bell = control.tray_bell();
    let shared = Arc::downgrade(&control.shared);
    bell.set(true);
    drop(control);
    assert!(shared.upgrade().is_none());
    bell.set(false);
}

#[test]
fn a_full_disk_pauses_only_where_somebody_looks_and_until_somebody_resumes() {
    let control = MachineControl::default();
    let disk = FullDisk {
        id: "virtio0".into(),
        image: "/srv/web.qcow2".into(),
    };
    let no_room = control.no_room(disk.clone());
    assert!(!no_room.stop());
    assert_eq!((control.request(), control.full_disks()), (None, vec![]));
    control.stop_when_full();
    assert!(no_room.stop());
    assert!(no_room.stop());
    assert_eq!(control.request(), Some(Request::Pause));
    assert_eq!(control.full_disks(), [disk]);
    control.resume();
    assert_eq!((control.request(), control.full_disks()), (None, vec![]));
    drop(control);
    assert!(!no_room.stop());
}
