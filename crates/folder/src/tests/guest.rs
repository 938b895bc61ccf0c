//! A guest's kernel, as far as it asks for things.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{Folder, FolderOptions};

pub(super) const ROOT: u64 = 1;

/// A directory that goes away with this value.
pub(super) struct TempDirectory(PathBuf);

impl TempDirectory {
    fn new() -> TempDirectory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("innkeeper-folder-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        TempDirectory(path)
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) struct Guest {
    pub(super) folder: Folder,
    outside: TempDirectory,
    unique: u64,
    pub(super) room: usize,
}

/// `struct fuse_attr`, as far as it is looked at.
pub(super) struct Attribute {
    pub(super) size: u64,
    pub(super) links: u32,
    pub(super) user: u32,
    pub(super) group: u32,
}

pub(super) struct Entry {
    pub(super) name: String,
    pub(super) offset: u64,
    /// Node and size.
    pub(super) told: Option<(u64, u64)>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(super) fn attribute(bytes: &[u8]) -> Attribute {
    Attribute {
        size: u64_at(bytes, 8),
        links: u32_at(bytes, 64),
        user: u32_at(bytes, 68),
        group: u32_at(bytes, 72),
    }
}

/// The node of a `struct fuse_entry_out`.
pub(super) fn entry(bytes: &[u8]) -> Option<u64> {
    (bytes.len() >= 128).then(|| u64_at(bytes, 0))
}

/// Numbers and names one behind the other.
fn body(numbers64: &[u64], numbers32: &[u32], names: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers64.iter().flat_map(|it| it.to_le_bytes()).collect();
    bytes.extend(numbers32.iter().flat_map(|it| it.to_le_bytes()));
    for name in names {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
    }
    bytes
}

impl Guest {
    pub(super) fn new() -> Guest {
        Guest::with(FolderOptions::default())
    }

    pub(super) fn owned_by(owner: u32) -> Guest {
        Guest::with(FolderOptions {
            owner,
            ..FolderOptions::default()
        })
    }

    pub(super) fn read_only() -> Guest {
        Guest::with(FolderOptions {
            read_only: true,
            ..FolderOptions::default()
        })
    }

    /// The folder lies in a directory with something beside it that is nobody's business.
    fn with(options: FolderOptions) -> Guest {
        let outside = TempDirectory::new();
        std::fs::create_dir(outside.0.join("folder")).unwrap();
        std::fs::write(outside.0.join("secret"), "secret").unwrap();
        let folder = serve(&outside.0.join("folder"), options);
        Guest {
            folder,
            outside,
            unique: 0,
            room: 1 << 20,
        }
    }

    /// Served anew, to a guest that knows what the one before knew.
    pub(super) fn restored(&mut self, state: &[u8]) -> Result<(), String> {
        let mut folder = serve(&self.outside.0.join("folder"), self.folder.options);
        folder.restore(state)?;
        self.folder = folder;
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.outside.0.join("folder").join(name)
    }

    pub(super) fn outside(&self, name: &str) -> PathBuf {
        self.outside.0.join(name)
    }

    /// One request and the body of its answer.
    pub(super) fn call(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, Errno> {
        self.unique += 1;
        let mut request = Vec::new();
        request.extend(u32::try_from(40 + body.len()).unwrap().to_le_bytes());
        request.extend(opcode.to_le_bytes());
        request.extend(self.unique.to_le_bytes());
        request.extend(node.to_le_bytes());
        request.extend([0; 16]);
        request.extend(body);
        let mut answer = Vec::new();
        self.folder.answer(&request, self.room, &mut answer);
        assert!(answer.len() <= self.room);
        if answer.is_empty() {
            return Ok(Vec::new());
        }
        assert_eq!(u32_at(&answer, 0) as usize, answer.len());
        assert_eq!(u64_at(&answer, 8), self.unique);
        match u32_at(&answer, 4).cast_signed() {
            0 => Ok(answer.split_off(16)),
            error => Err(Errno::from_raw_os_error(-error)),
        }
    }

    fn node(&mut self, opcode: u32, node: u64, body: &[u8]) -> Result<u64, Errno> {
        self.call(opcode, node, body).map(|told| u64_at(&told, 0))
    }

    pub(super) fn init(&mut self, major: u32, minor: u32, flags: u32) -> Result<Vec<u8>, Errno> {
        self.call(26, 0, &body(&[], &[major, minor, 65536, flags], &[]))
    }

    pub(super) fn lookup(&mut self, parent: u64, name: &str) -> Result<u64, Errno> {
        self.node(1, parent, &body(&[], &[], &[name]))
    }

    pub(super) fn forget(&mut self, node: u64, count: u64) {
        assert_eq!(
            self.call(2, node, &body(&[count], &[], &[])),
            Ok(Vec::new())
        );
    }

    pub(super) fn get_attributes(&mut self, node: u64) -> Result<Vec<u8>, Errno> {
        self.call(3, node, &[0; 16])
    }

    fn set(&mut self, node: u64, valid: u32, change: impl FnOnce(&mut [u8])) -> Result<(), Errno> {
        let mut body = [0; 88];
        body[..4].copy_from_slice(&valid.to_le_bytes());
        change(&mut body);
        self.call(4, node, &body).map(drop)
    }

    pub(super) fn set_size(&mut self, node: u64, by: Option<u64>, size: u64) -> Result<(), Errno> {
        let valid = 8 | if by.is_some() { 64 } else { 0 };
        self.set(node, valid, |body| {
            body[8..16].copy_from_slice(&by.unwrap_or(0).to_le_bytes());
            body[16..24].copy_from_slice(&size.to_le_bytes());
        })
    }

    pub(super) fn set_mode(&mut self, node: u64, mode: u32) -> Result<(), Errno> {
        self.set(node, 1, |body| {
            body[68..72].copy_from_slice(&mode.to_le_bytes())
        })
    }

    pub(super) fn set_owner(&mut self, node: u64, user: u32, group: u32) -> Result<(), Errno> {
        self.set(node, 6, |body| {
            body[76..80].copy_from_slice(&user.to_le_bytes());
            body[80..84].copy_from_slice(&group.to_le_bytes());
        })
    }

    pub(super) fn set_modified(&mut self, node: u64, at: u64, ns: u32) -> Result<(), Errno> {
        self.set(node, 32, |body| {
            body[40..48].copy_from_slice(&at.to_le_bytes());
            body[60..64].copy_from_slice(&ns.to_le_bytes());
        })
    }

    pub(super) fn read_link(&mut self, node: u64) -> Result<Vec<u8>, Errno> {
        self.call(5, node, &[])
    }

    pub(super) fn symlink(&mut self, parent: u64, name: &str, to: &str) -> Result<u64, Errno> {
        self.node(6, parent, &body(&[], &[], &[name, to]))
    }

    pub(super) fn make_node(&mut self, parent: u64, name: &str, mode: u32) -> Result<u64, Errno> {
        self.node(8, parent, &body(&[], &[mode, 0x103, 0, 0], &[name]))
    }

    pub(super) fn make_directory(&mut self, parent: u64, name: &str) -> Result<u64, Errno> {
        self.node(9, parent, &body(&[], &[0o755, 0], &[name]))
    }

    pub(super) fn unlink(&mut self, parent: u64, name: &str) -> Result<(), Errno> {
        self.call(10, parent, &body(&[], &[], &[name])).map(drop)
    }

    pub(super) fn remove_directory(&mut self, parent: u64, name: &str) -> Result<(), Errno> {
        self.call(11, parent, &body(&[], &[], &[name])).map(drop)
    }

    pub(super) fn rename(
        &mut self,
        parent: u64,
        name: &str,
        to: u64,
        new_name: &str,
    ) -> Result<(), Errno> {
        self.call(12, parent, &body(&[to], &[], &[name, new_name]))
            .map(drop)
    }

    pub(super) fn link(&mut self, node: u64, parent: u64, name: &str) -> Result<u64, Errno> {
        self.node(13, parent, &body(&[node], &[], &[name]))
    }

    pub(super) fn open(&mut self, node: u64, flags: u32) -> Result<u64, Errno> {
        self.node(14, node, &body(&[], &[flags, 0], &[]))
    }

    pub(super) fn create(
        &mut self,
        parent: u64,
        name: &str,
        mode: u32,
    ) -> Result<(u64, u64), Errno> {
        let told = self.call(
            35,
            parent,
            &body(&[], &[2, 0o100_000 | mode, 0, 0], &[name]),
        )?;
        Ok((u64_at(&told, 0), u64_at(&told, 128)))
    }

    pub(super) fn read(&mut self, handle: u64, at: u64, size: u32) -> Result<Vec<u8>, Errno> {
        self.call(15, 0, &body(&[handle, at], &[size, 0, 0, 0, 0, 0], &[]))
    }

    pub(super) fn write(&mut self, handle: u64, at: u64, data: &[u8]) -> Result<u32, Errno> {
        let size = u32::try_from(data.len()).unwrap();
        let mut request = body(&[handle, at], &[size, 0, 0, 0, 0, 0], &[]);
        request.extend(data);
        self.call(16, 0, &request).map(|told| u32_at(&told, 0))
    }

    pub(super) fn release(&mut self, handle: u64) -> Result<(), Errno> {
        self.call(18, 0, &body(&[handle, 0, 0], &[], &[])).map(drop)
    }

    pub(super) fn open_directory(&mut self, node: u64) -> Result<u64, Errno> {
        self.node(27, node, &[0; 8])
    }

    pub(super) fn read_directory(
        &mut self,
        handle: u64,
        offset: u64,
        size: u32,
        plus: bool,
    ) -> Result<Vec<Entry>, Errno> {
        let request = body(&[handle, offset], &[size, 0, 0, 0, 0, 0], &[]);
        let told = self.call(if plus { 44 } else { 28 }, ROOT, &request)?;
        assert!(told.len() <= size as usize);
        let mut entries = Vec::new();
        let mut rest = &told[..];
        while !rest.is_empty() {
            let mut entry = None;
            if plus {
                let size = attribute(&rest[40..]).size;
                entry = Some((u64_at(rest, 0), size)).filter(|told| told.0 != 0);
                rest = &rest[128..];
            }
            let len = u32_at(rest, 16) as usize;
            entries.push(Entry {
                name: String::from_utf8(rest[24..24 + len].to_vec()).unwrap(),
                offset: u64_at(rest, 8),
                told: entry,
            });
            rest = &rest[(24 + len).next_multiple_of(8)..];
        }
        Ok(entries)
    }
}

fn serve(path: &Path, options: FolderOptions) -> Folder {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    Folder::new(root, options)
}
