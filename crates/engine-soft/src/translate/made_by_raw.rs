//! Which code can run here, of all that Innkeeper has written to files: that of the same build, for the same processor.
//!
//! Translations call handlers by their distances and know where fields lie, which another build may have elsewhere;
//! and they use what the host's processor has.
//! Spec: System V ABI, "Program Header" and "Note Section"; `NT_GNU_BUILD_ID` is of the GNU linker's.

use std::ffi::c_void;
use std::slice;
use std::sync::OnceLock;

use x86::cpuid::HostCpuid;

/// Words of a [`MadeBy`].
pub(super) const WORDS: usize = 8;
/// A build's number is so long at most, in bytes; a longer one is cut.
const BUILD: usize = 24;
const NT_GNU_BUILD_ID: u32 = 3;

/// A build, and the features of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MadeBy(pub(super) [u64; WORDS]);

impl MadeBy {
    /// What this process makes. `None` when its build has no number.
    pub(super) fn this() -> Option<MadeBy> {
        static THIS: OnceLock<Option<MadeBy>> = OnceLock::new();
        *THIS.get_or_init(|| {
            let mut bytes = build()?.to_vec();
            for feature in features() {
                bytes.extend(feature.to_le_bytes());
            }
            let mut words = bytes.chunks_exact(8);
            let mut made_by = MadeBy::default();
            for word in &mut made_by.0 {
                *word = u64::from_le_bytes(words.next()?.try_into().ok()?);
            }
            Some(made_by)
        })
    }
}

/// Spec: Intel SDM Vol. 2, "CPUID": family and model, and what there is of instructions and state.
fn features() -> [u32; 2 * WORDS - BUILD / 4] {
    let host = HostCpuid::known();
    let leaf = |leaf, subleaf| host.table.find(leaf, subleaf).copied().unwrap_or_default();
    let (first, seventh, more) = (leaf(1, 0), leaf(7, 0), leaf(7, 1));
    let (state, amd) = (leaf(0xd, 0), leaf(0x8000_0001, 0));
    [
        first.eax,
        first.ecx,
        first.edx,
        seventh.ebx,
        seventh.ecx,
        seventh.edx,
        more.eax,
        state.eax,
        amd.ecx,
        amd.edx,
    ]
}

/// The number of the build that this code is of. `None` when its linker gave it none.
fn build() -> Option<[u8; BUILD]> {
    let mut found = Search {
        here: build as *const () as u64,
        build: None,
    };
    // SAFETY: `look` takes what it is given for the search that this is, and keeps nothing.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
    found.build
}

struct Search {
    /// An address in the library that is looked for.
    here: u64,
    build: Option<[u8; BUILD]>,
}

/// Looks at one library. Not zero: it was the one.
///
/// # Safety
/// `info` is what the loader tells of a library, and `search` a [`Search`] that nobody else uses.
unsafe extern "C" fn look(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    search: *mut c_void,
) -> libc::c_int {
    // SAFETY: the caller's promise.
    let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
    // SAFETY: the loader's own table.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let within = |header: &libc::Elf64_Phdr| {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        header.p_type == libc::PT_LOAD && (start..start + header.p_memsz).contains(&search.here)
    };
    if !headers.iter().any(within) {
        return 0;
    }
    for header in headers.iter().filter(|it| it.p_type == libc::PT_NOTE) {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr) as *const u8;
        // SAFETY: notes are loaded, and stay as long as the library does.
        let notes = unsafe { slice::from_raw_parts(start, header.p_memsz as usize) };
        search.build = search.build.or_else(|| build_in(notes));
    }
    1
}

/// The build's number among notes.
fn build_in(mut notes: &[u8]) -> Option<[u8; BUILD]> {
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let word = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let (name_len, len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let (name, rest) = rest.split_at_checked(name_len.next_multiple_of(4))?;
        let (bytes, rest) = rest.split_at_checked(len.next_multiple_of(4))?;
        if kind == NT_GNU_BUILD_ID && name.starts_with(b"GNU\0") && len > 0 {
            let mut build = [0; BUILD];
            let len = len.min(BUILD);
            build[..len].copy_from_slice(&bytes[..len]);
            return Some(build);
        }
        notes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::{BUILD, MadeBy, build, build_in};

    #[test]
    fn a_build_has_a_number_that_stays() {
        let build = build().expect("a number");
        assert_ne!(build, [0; BUILD]);
        assert_eq!(MadeBy::this(), MadeBy::this());
        let words = MadeBy::this().expect("a number").0;
        assert_eq!(words[0].to_le_bytes(), build[..8]);
        // The last are the processor's.
        assert_ne!(words[3..], [0; 5]);
    }

    #[test]
    fn numbers_are_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, bytes: &[u8]| {
            let mut note = (name.len() as u32).to_le_bytes().to_vec();
            note.extend((bytes.len() as u32).to_le_bytes());
            note.extend(kind.to_le_bytes());
            for part in [name, bytes] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
            note
        };
        let other = note(b"GNU\0", 5, &[1; 9]);
        let number = note(b"GNU\0", 3, &[7; 20]);
        let mut expected = [0; BUILD];
        expected[..20].fill(7);
        assert_eq!(
            build_in(&[other.clone(), number.clone()].concat()),
            Some(expected)
        );
        assert_eq!(build_in(&other), None);
        assert_eq!(build_in(&number[..number.len() - 4]), None);
        let long = note(b"GNU\0", 3, &[7; 40]);
        assert_eq!(build_in(&long), Some([7; BUILD]));
        assert_eq!(build_in(&note(b"Go\0\0", 3, &[7; 20])), None);
    }
}
