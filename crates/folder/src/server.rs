//! One folder and what a guest has to do with it: each request is answered in turn.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::files::Handles;
use crate::nodes::Nodes;
use crate::tree::Tree;
use crate::wire::{ANSWER_LEN, Answer, Header, MAX_DATA, Opcode, Request, seal};

/// The version of the protocol that is spoken: what Linux 5.16 speaks, and later ones agree to.
const MAJOR: u32 = 7;
const MINOR: u32 = 36;
/// The oldest whose structures have the lengths that are used here.
const OLDEST_MINOR: u32 = 31;

const ASYNC_READ: u32 = 1 << 0;
const ATOMIC_O_TRUNC: u32 = 1 << 3;
const BIG_WRITES: u32 = 1 << 5;
const AUTO_INVAL_DATA: u32 = 1 << 12;
const DO_READDIRPLUS: u32 = 1 << 13;
const READDIRPLUS_AUTO: u32 = 1 << 14;
const PARALLEL_DIROPS: u32 = 1 << 18;
const MAX_PAGES: u32 = 1 << 22;
const CACHE_SYMLINKS: u32 = 1 << 23;
const WANTED: u32 = ASYNC_READ
    | ATOMIC_O_TRUNC
    | BIG_WRITES
    | AUTO_INVAL_DATA
    | DO_READDIRPLUS
    | READDIRPLUS_AUTO
    | PARALLEL_DIROPS
    | MAX_PAGES
    | CACHE_SYMLINKS;
/// Requests that the guest may have under way.
const BACKGROUND: u16 = 64;
const PAGE: usize = 4096;

/// How a folder is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FolderOptions {
    /// Nothing in it can be changed.
    pub read_only: bool,
    /// The guest's user and group that our own files belong to there.
    pub owner: u32,
}

/// A folder, served to one guest.
#[derive(Debug)]
pub struct Folder {
    pub(crate) options: FolderOptions,
    pub(crate) tree: Tree,
    pub(crate) nodes: Nodes,
    pub(crate) handles: Handles,
    pub(crate) us: (u32, u32),
}

impl Folder {
    /// Serves the directory `root`. Who we are now, files belong to.
    #[must_use]
    pub fn new(root: OwnedFd, options: FolderOptions) -> Folder {
        Folder {
            options,
            tree: Tree::new(root),
            nodes: Nodes::default(),
            handles: Handles::default(),
            us: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        }
    }

    /// The guest has forgotten everything, and closed all its files.
    pub fn reset(&mut self) {
        self.nodes = Nodes::default();
        self.handles = Handles::default();
    }

    /// Answers one request in at most `room` bytes. Where there is nothing to say, `answer` is empty.
    pub fn answer(&mut self, request: &[u8], room: usize, answer: &mut Vec<u8>) {
        let (header, arguments) = match Request::parse(request) {
            Ok(parsed) => parsed,
            Err(errno) => {
                // Whose request it was, nobody knows.
                answer.clear();
                answer.resize(ANSWER_LEN.min(room), 0);
                seal(answer, 0, Some(errno));
                return;
            }
        };
        let opcode = Opcode::of(header.opcode);
        let silent = matches!(
            opcode,
            Some(Opcode::Forget | Opcode::BatchForget | Opcode::Interrupt)
        );
        let result = match opcode {
            // Without room for the answer nothing is done.
            _ if !silent && room < ANSWER_LEN => Err(Errno::INVAL),
            None => Err(Errno::NOSYS),
            Some(opcode) => {
                let mut body = Answer::begin(answer, room);
                self.serve(opcode, &header, arguments, &mut body)
            }
        };
        if silent || room < ANSWER_LEN {
            answer.clear();
            return;
        }
        let result = match result {
            Ok(()) if answer.len() > room => Err(Errno::INVAL),
            result => result,
        };
        if result.is_err() {
            answer.clear();
            answer.resize(ANSWER_LEN, 0);
        }
        seal(answer, header.unique, result.err());
    }

    fn serve(
        &mut self,
        opcode: Opcode,
        header: &Header,
        request: Request<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Errno> {
        let node = header.node;
        if self.options.read_only && changes(opcode) {
            return Err(Errno::ROFS);
        }
        match opcode {
            Opcode::Init => self.init(request, answer),
            Opcode::Destroy => {
                self.reset();
                Ok(())
            }
            Opcode::Lookup => self.lookup(node, request, answer),
            Opcode::Forget => self.forget(node, request),
            Opcode::BatchForget => self.forget_all(request),
            Opcode::GetAttr => self.get_attributes(node, request, answer),
            Opcode::SetAttr => self.set_attributes(node, request, answer),
            Opcode::StatFs => self.file_system(node, answer),
            Opcode::ReadLink => self.read_link(node, answer),
            Opcode::SymLink => self.make_link(node, request, answer),
            Opcode::MkNod => self.make_file(node, request, answer),
            Opcode::MkDir => self.make_directory(node, request, answer),
            Opcode::Unlink => self.remove(node, request, false),
            Opcode::RmDir => self.remove(node, request, true),
            Opcode::Rename => self.rename(node, request, false),
            Opcode::Rename2 => self.rename(node, request, true),
            Opcode::Link => self.link(node, request, answer),
            Opcode::Open => self.open(node, request, answer),
            Opcode::Create => self.create(node, request, answer),
            Opcode::Read => self.read(request, answer),
            Opcode::Write => self.write(request, answer),
            Opcode::Flush => self.flush(request),
            Opcode::Fsync | Opcode::FsyncDir => self.sync(request),
            Opcode::Release | Opcode::ReleaseDir => self.release(request),
            Opcode::Fallocate => self.allocate(request),
            Opcode::Lseek => self.seek(request, answer),
            Opcode::SyncFs => self.sync_all(node),
            Opcode::OpenDir => self.open_directory(node, answer),
            Opcode::ReadDir => self.read_directory(node, request, answer, false),
            Opcode::ReadDirPlus => self.read_directory(node, request, answer, true),
            // What is under way ends soon.
            Opcode::Interrupt => Ok(()),
        }
    }

    /// The guest's kernel begins, and tells what it can.
    fn init(&mut self, mut request: Request<'_>, answer: &mut Answer<'_>) -> Result<(), Errno> {
        let (major, minor) = (request.u32()?, request.u32()?);
        let (read_ahead, flags) = (request.u32()?, request.u32()?);
        if major < MAJOR || (major == MAJOR && minor < OLDEST_MINOR) {
            return Err(Errno::PROTO);
        }
        self.reset();
        answer.u32(MAJOR);
        answer.u32(MINOR);
        if major > MAJOR {
            // It says again what it can, in our version.
            return Ok(());
        }
        answer.u32(read_ahead);
        answer.u32(flags & WANTED);
        answer.u16(BACKGROUND);
        answer.u16(BACKGROUND / 4 * 3);
        answer.u32(u32::try_from(MAX_DATA).unwrap_or(u32::MAX));
        answer.u32(1); // times are exact to the nanosecond
        answer.u16(u16::try_from(MAX_DATA / PAGE).unwrap_or(u16::MAX));
        answer.u16(0); // no alignment of mappings: there are none
        answer.put(&[0; 32]); // flags2 and unused
        Ok(())
    }
}

fn changes(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::SetAttr
            | Opcode::SymLink
            | Opcode::MkNod
            | Opcode::MkDir
            | Opcode::Unlink
            | Opcode::RmDir
            | Opcode::Rename
            | Opcode::Rename2
            | Opcode::Link
            | Opcode::Create
            | Opcode::Write
            | Opcode::Fallocate
    )
}
