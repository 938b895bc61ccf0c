//! A folder of the host, asked anything: by names and numbers that were told, and by others.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use folder::{Folder, FolderOptions, HEADER_LEN};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{Input, strict};

/// The most that an answer has room for.
const ROOM: u16 = 0x3fff;
/// What requests name, beside what the input makes up.
const NAMES: &[&[u8]] = &[
    b"a",
    b"d",
    b"e",
    b"link",
    b"out",
    b"..",
    b".",
    b"",
    b"d/e",
    b"../secret",
    b"new",
    b"\xff",
];
/// Those that are served, and one of no meaning.
const OPCODES: &[u32] = &[
    1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 25, 26, 27, 28, 29, 30, 35, 36,
    38, 42, 43, 44, 45, 46, 50, 99,
];

/// A directory with a folder in it and something beside that nobody may reach.
struct Place(PathBuf);

impl Place {
    fn new() -> std::io::Result<Place> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("innkeeper-fuzz-{}-{number}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        DirBuilder::new().mode(0o700).create(&place.0)?;
        fs::write(place.0.join("secret"), "secret")?;
        fs::create_dir_all(place.0.join("folder/d/e"))?;
        fs::write(place.0.join("folder/a"), "some text")?;
        fs::write(place.0.join("folder/d/a"), "other text")?;
        symlink("d", place.0.join("folder/link"))?;
        symlink("..", place.0.join("folder/out"))?;
        Ok(place)
    }

    fn folder(&self, options: FolderOptions) -> Folder {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, self.0.join("folder"), flags, Mode::empty());
        Folder::new(root.expect("the folder"), options)
    }

    /// Nothing beside the folder has come, gone or changed.
    fn check(&self) {
        let secret = fs::read(self.0.join("secret")).expect("the secret");
        assert_eq!(secret, b"secret");
        let beside: Vec<_> = entries(&self.0);
        assert_eq!(beside.len(), 2, "{beside:?}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A folder with nothing in it and nothing to change, for what is not about folders.
pub(crate) fn to_read() -> Folder {
    let path = std::env::temp_dir().join("innkeeper-fuzz-nothing");
    let _ = DirBuilder::new().mode(0o700).create(&path);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, path, flags, Mode::empty());
    let options = FolderOptions {
        read_only: true,
        owner: 0,
    };
    Folder::new(root.expect("a directory for temporary files"), options)
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Requests in turn; the host moves things meanwhile, and the guest is saved and restored.
pub(crate) fn folder(bytes: &[u8]) {
    strict();
    let mut input = Input::new(bytes);
    let Ok(place) = Place::new() else { return };
    let options = FolderOptions {
        read_only: input.byte().is_multiple_of(4),
        owner: input.byte().into(),
    };
    let mut folder = place.folder(options);
    let mut answer = Vec::new();
    while !input.is_empty() {
        match input.byte() {
            0 => {
                let _ = fs::rename(place.0.join("folder/d"), place.0.join("folder/new"));
            }
            1 => {
                let _ = symlink("../..", place.0.join("folder/d"));
            }
            2 => {
                let state = folder.save();
                folder = place.folder(options);
                folder.restore(&state).expect("its own state");
            }
            3 => {
                let len = input.byte().into();
                let _ = folder.restore(input.take(len));
            }
            _ => {
                let room = usize::from(input.u16() & ROOM);
                folder.answer(&request(&mut input), room, &mut answer);
                assert!(answer.len() <= room.max(16), "{} of {room}", answer.len());
            }
        }
    }
    place.check();
}

fn request(input: &mut Input<'_>) -> Vec<u8> {
    let opcode = input.choose(OPCODES);
    let mut request = vec![0; HEADER_LEN];
    request[4..8].copy_from_slice(&opcode.to_le_bytes());
    request[16..24].copy_from_slice(&small(input).to_le_bytes());
    // Arguments are numbers of either length, then names or data.
    for _ in 0..input.byte() % 24 {
        let value = small(input);
        if input.bool() {
            request.extend_from_slice(&value.to_le_bytes());
        } else {
            request.extend_from_slice(&value.to_le_bytes()[..4]);
        }
    }
    for _ in 0..input.byte() % 3 {
        request.extend_from_slice(input.choose(NAMES));
        request.push(0);
    }
    let len = usize::from(input.byte() % 64);
    request.extend_from_slice(input.take(len));
    let len = u32::try_from(request.len()).unwrap_or(0);
    request[..4].copy_from_slice(&len.to_le_bytes());
    if input.byte() == 0 {
        request.truncate(usize::from(input.byte()));
    }
    request
}

/// Node and handle numbers are small; some numbers are anything.
fn small(input: &mut Input<'_>) -> u64 {
    match input.byte() {
        byte @ 0..240 => u64::from(byte % 16),
        _ => input.number(),
    }
}
