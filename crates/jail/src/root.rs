//! A root directory that holds what the guest's process needs, and nothing else.
//!
//! It is a file system in memory, with a mount for each thing that is needed, under the very name that
//! it has outside: so descriptions of machines hold inside as well, also for a machine that is made
//! anew when its guest resets. The old root is left by `pivot_root`, not `chroot`, and is gone then. No
//! descriptor of a directory leads back: each is opened anew by its name, or becomes one of the new
//! root.
//!
//! Where this process gets a user of its own, mounts have root's files belong to that one. A file
//! system that can not do so is no obstacle where anybody may read what is needed.
//!
//! Spec: `pivot_root(2)`, `open_tree(2)`, `move_mount(2)`, `mount_setattr(2)`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chownat, fstat,
    mkdirat, mknodat, openat, openat2, stat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount, fsopen, mount_change, move_mount,
    open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root, umask};

use crate::descriptors::{self, Directory};
use crate::mount_raw::{self, NO_DEVICES, NO_PROGRAMS, NO_SUID, READ_ONLY};
use crate::owner_raw;
use crate::places::{Place, Plan, Use, plan};
use crate::{Needs, Rights};

/// Covered for a moment. It is there on every host that a process can look at itself on.
const COVERED: &str = "/proc";

/// Why there is no such root.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub(crate) struct NoRoot {
    what: String,
    source: Errno,
    /// Whether this process is as it was.
    pub(crate) is_harmless: bool,
}

fn because(what: impl Into<String>) -> impl FnOnce(Errno) -> NoRoot {
    let what = what.into();
    move |source| NoRoot {
        what,
        source,
        is_harmless: true,
    }
}

/// Moves this process, which has a mount namespace of its own, into a root of its own. Answers
/// the user that can use what is in there, where that is not who this process is.
///
/// # Errors
/// When there is none.
pub(crate) fn enter(
    needs: &Needs,
    rights: Rights,
    missing: &mut Vec<String>,
) -> Result<Option<u32>, NoRoot> {
    let plan = plan(needs);
    let before = descriptors::directories();
    if let Some(user) = needs.user.filter(|_| rights == Rights::Own) {
        match build(&plan, Some(user)) {
            Ok(root) => return move_in(&root, &before).map(|()| Some(user)),
            Err(error) => missing.push(format!("no user of its own: {error}")),
        }
    }
    let root = build(&plan, None)?;
    move_in(&root, &before).map(|()| None)
}

/// The new root, which covers [`COVERED`].
fn build(plan: &Plan, user: Option<u32>) -> Result<OwnedFd, NoRoot> {
    let owners = user.map(owner_raw::exchanged).transpose();
    let owners = owners.map_err(because("cannot make a user namespace"))?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(because("cannot make mounts private"))?;
    // Before anything is covered.
    let mut mounts = Vec::new();
    for place in &plan.places {
        mounts.push(take(place, user, owners.as_ref().map(AsFd::as_fd))?);
    }
    let root = empty().map_err(because("cannot make an empty directory"))?;
    // Whoever this process becomes is to find its way.
    let mask = umask(Mode::empty());
    let filled = fill(&root, plan, &mounts, user);
    umask(mask);
    if filled.is_err() {
        uncover();
    }
    filled.map(|()| root)
}

fn uncover() {
    // It was us who covered it: there is nothing else that this could be.
    let _ = unmount(COVERED, UnmountFlags::DETACH);
}

enum Taken {
    Mount(OwnedFd, FileType),
    Device(Dev),
}

fn take(place: &Place, user: Option<u32>, owners: Option<BorrowedFd<'_>>) -> Result<Taken, NoRoot> {
    let name = || place.path.display().to_string();
    let found = stat(&place.path).map_err(because(name()))?;
    let kind = FileType::from_raw_mode(found.st_mode);
    if place.usage == Use::Control && user.is_some() && kind == FileType::CharacterDevice {
        // Of its own, since the host's belongs to others, and cannot be given to it by a mount.
        return Ok(Taken::Device(found.st_rdev));
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(CWD, &place.path, flags).map_err(because(name()))?;
    let set = NO_SUID
        | match place.usage {
            Use::Read => READ_ONLY | NO_DEVICES,
            Use::Write => NO_DEVICES | NO_PROGRAMS,
            Use::Control => 0,
        };
    mount_raw::change(mount.as_fd(), set, None, true).map_err(because(name()))?;
    if owners.is_some() {
        match mount_raw::change(mount.as_fd(), 0, owners, true) {
            Err(Errno::INVAL) if place.usage == Use::Read && anybody_reads(&found) => {}
            done => done.map_err(because(format!("files of {}", name())))?,
        }
    }
    Ok(Taken::Mount(mount, kind))
}

fn anybody_reads(found: &Stat) -> bool {
    let mode = Mode::from_raw_mode(found.st_mode);
    let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    mode.contains(Mode::ROTH) && (!directory || mode.contains(Mode::XOTH))
}

fn empty() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "mode", "755")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root.as_fd(), "", CWD, COVERED, flags)?;
    Ok(root)
}

fn fill(root: &OwnedFd, plan: &Plan, mounts: &[Taken], user: Option<u32>) -> Result<(), NoRoot> {
    let cannot = |path: &Path| because(format!("cannot have {}", path.display()));
    for (place, taken) in plan.places.iter().zip(mounts) {
        put(root, place, taken, user).map_err(cannot(&place.path))?;
    }
    for (name, path) in &plan.links {
        link(root, name, path).map_err(cannot(name))?;
    }
    // Names may be relative to it, and need it to be there, if empty. Where it can not be made there, it
    // is below something that is.
    if let Ok(here) = std::env::current_dir() {
        let _ = directory_of(root, &here.join("any"));
    }
    Ok(())
}

fn put(root: &OwnedFd, place: &Place, taken: &Taken, user: Option<u32>) -> Result<(), Errno> {
    let (parent, name) = directory_of(root, &place.path)?;
    match taken {
        Taken::Device(number) => {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(&parent, name, FileType::CharacterDevice, mode, *number)?;
            let user = user.unwrap_or_default();
            let owner = (Uid::from_raw(user), Gid::from_raw(user));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(&parent, name, Some(owner.0), Some(owner.1), flags)
        }
        Taken::Mount(mount, kind) => {
            let made = match kind {
                FileType::Directory => mkdirat(&parent, name, DIRECTORY),
                _ => make_file(&parent, name),
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(mount.as_fd(), "", parent.as_fd(), name, flags)
        }
    }
}

/// Another name for `path`, where nothing that is mounted has it already.
fn link(root: &OwnedFd, name: &Path, path: &Path) -> Result<(), Errno> {
    if openat2(
        root,
        name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        INSIDE,
    )
    .is_ok()
    {
        return Ok(());
    }
    let (parent, last) = directory_of(root, name)?;
    match symlinkat(path, &parent, last) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

const DIRECTORY: Mode = Mode::RWXU
    .union(Mode::RGRP.union(Mode::XGRP))
    .union(Mode::ROTH.union(Mode::XOTH));
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The directory that `path` is in, made where it is not there, and its last name. What is mounted is
/// never changed: there, what is missing is an error.
fn directory_of<'a>(root: &OwnedFd, path: &'a Path) -> Result<(OwnedFd, &'a Path), Errno> {
    let last = path.file_name().ok_or(Errno::INVAL)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let device = fstat(root)?.st_dev;
    let mut at = openat(root, ".", flags, Mode::empty())?;
    let mut so_far = PathBuf::new();
    for component in path.parent().ok_or(Errno::INVAL)?.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        so_far.push(name);
        at = match openat2(root, &so_far, flags, Mode::empty(), INSIDE) {
            Err(Errno::NOENT) if fstat(&at)?.st_dev == device => {
                mkdirat(&at, name, DIRECTORY)?;
                openat2(root, &so_far, flags, Mode::empty(), INSIDE)?
            }
            found => found?,
        };
    }
    Ok((at, Path::new(last)))
}

fn make_file(parent: &OwnedFd, name: &Path) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::RUSR | Mode::ROTH).map(drop)
}

fn move_in(root: &OwnedFd, before: &[Directory]) -> Result<(), NoRoot> {
    let moved = fchdir(root).and_then(|()| pivot_root(".", "."));
    if let Err(error) = moved {
        uncover();
        let _ = descriptors::open_anew(before);
        return Err(because("cannot leave the host's root")(error));
    }
    // The old root lies over the new one. From here on there is no way back.
    unmount(".", UnmountFlags::DETACH)
        .and_then(|()| chdir("/"))
        .and_then(|()| mount_raw::change(root.as_fd(), READ_ONLY, None, false))
        .and_then(|()| descriptors::open_anew(before))
        .map_err(|source| NoRoot {
            what: "cannot leave the host's root behind".to_owned(),
            source,
            is_harmless: false,
        })
}
