//! From the initrd to the guest's own root: modules, file systems, host name, loop-back interface.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};

/// Modules in the order of their dependencies, one path a line; written when the image is built.
const MODULES: &str = "/modules/order";
/// Likewise those that folders need, where the root disk is a container's and has none.
const FOLDER_MODULES: &str = "/modules/folders";
/// The word of the kernel's command line that names a folder of the host.
const FOLDER: &str = "innkeeper.folder";
const ROOT_DISK: &str = "/dev/vda";
const NEW_ROOT: &str = "/root";
const DISK_PATIENCE: Duration = Duration::from_secs(20);

/// A step of the boot that failed, in words for the person who started the guest.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    source: io::Error,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            what: what.into(),
            source: source.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

/// The file systems that the kernel itself offers, and the modules of the image.
pub(crate) fn early() -> Result<(), Failure> {
    file_system("devtmpfs", "/dev", "mode=0755")?;
    file_system("proc", "/proc", "")?;
    file_system("sysfs", "/sys", "")?;
    load_modules(MODULES)?;
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if option(&command_line, FOLDER).is_some() {
        load_modules(FOLDER_MODULES)?;
    }
    Ok(())
}

/// Mounts the root disk and makes it the root of this process and all that it starts.
pub(crate) fn enter_root() -> Result<(), Failure> {
    wait_for(Path::new(ROOT_DISK))?;
    make_directory(NEW_ROOT)?;
    mount(ROOT_DISK, NEW_ROOT, "ext4", MountFlags::NOATIME, None)
        .map_err(|error| Failure::new("cannot mount the root disk", error))?;
    for directory in ["dev", "proc", "sys"] {
        let target = format!("{NEW_ROOT}/{directory}");
        mount_move(format!("/{directory}"), target.as_str())
            .map_err(|error| Failure::new(format!("cannot move /{directory}"), error))?;
    }
    // The initrd stays below the new root for ever: give its memory back.
    let _ = fs::remove_dir_all("/modules");
    let _ = fs::remove_file("/init");
    rustix::process::chdir(NEW_ROOT)
        .and_then(|()| mount_move(".", "/"))
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::chdir("/"))
        .map_err(|error| Failure::new("cannot change to the root disk", error))?;
    file_system("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666")?;
    file_system("tmpfs", "/dev/shm", "mode=1777")?;
    file_system("tmpfs", "/run", "mode=0755")
}

/// Mounts the folders of the host that the kernel's command line names, each `TAG:PATH[:ro]`.
pub(crate) fn folders() -> Result<(), Failure> {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let wanted: Vec<Folder> = command_line
        .split_ascii_whitespace()
        .filter_map(|word| Folder::parse(word.strip_prefix(FOLDER)?.strip_prefix('=')?))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    // Where it is no module, the kernel has it, or the mount says what is missing.
    let _ = Command::new("modprobe").arg("virtiofs").status();
    wanted.iter().try_for_each(Folder::mount)
}

/// A folder of the host, and its place in the guest.
#[derive(Debug, PartialEq, Eq)]
struct Folder {
    tag: String,
    path: String,
    read_only: bool,
}

impl Folder {
    /// The path is written as in a URL: words of a command line have no spaces.
    fn parse(text: &str) -> Option<Folder> {
        let (tag, rest) = text.split_once(':')?;
        let (path, read_only) = match rest.strip_suffix(":ro") {
            Some(path) => (path, true),
            None => (rest, false),
        };
        Some(Folder {
            tag: tag.to_owned(),
            path: unquoted(path)?,
            read_only,
        })
    }

    fn mount(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot mount {}", self.path), error);
        fs::create_dir_all(&self.path).map_err(failed)?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
        if self.read_only {
            flags |= MountFlags::RDONLY;
        }
        let mounted = mount(
            self.tag.as_str(),
            self.path.as_str(),
            "virtiofs",
            flags,
            None,
        );
        mounted.map_err(|error| failed(error.into()))
    }
}

/// `%20` and its like, as the bytes that they stand for.
fn unquoted(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// Host name from the kernel command line, and `lo`. A guest without either still works.
pub(crate) fn identity() {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if let Some(name) = option(&command_line, "innkeeper.hostname") {
        let _ = rustix::system::sethostname(name.as_bytes());
    }
    let _ = crate::sys_raw::interface_up("lo");
}

/// The value of `name=value` on a kernel command line.
pub(crate) fn option<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn load_modules(listing: &str) -> Result<(), Failure> {
    let Ok(order) = fs::read_to_string(listing) else {
        return Ok(());
    };
    for path in order.lines() {
        let file = fs::File::open(path)
            .map_err(|error| Failure::new(format!("cannot open module {path}"), error))?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Failure::new(format!("cannot load module {path}"), error)),
        }
    }
    Ok(())
}

fn file_system(kind: &str, target: &str, options: &str) -> Result<(), Failure> {
    make_directory(target)?;
    let options = std::ffi::CString::new(options).unwrap_or_default();
    match mount(kind, target, kind, MountFlags::NOSUID, options.as_c_str()) {
        // Already there, for example devtmpfs mounted by the kernel itself.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot mount {target}"), error)),
    }
}

fn make_directory(path: &str) -> Result<(), Failure> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot make {path}"), error)),
    }
}

/// A driver may publish its device a little after its module has loaded.
pub(crate) fn wait_for(path: &Path) -> Result<(), Failure> {
    let deadline = Instant::now() + DISK_PATIENCE;
    while !path.exists() {
        if Instant::now() > deadline {
            let what = format!("{} did not appear", path.display());
            return Err(Failure::new(what, Errno::TIMEDOUT));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
