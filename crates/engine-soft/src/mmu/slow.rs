//! The slow path of memory accesses: TLB misses, page crossings, MMIO, pages that must be watched.

use engine::Exit;
use memory::{Gpa, Lines};
use x86::Exception;
use x86::exception::vector;
use x86::register::rflags;

use super::access_raw::{load_sized, physical_read, physical_write, store_sized};
use super::walk::{Access, Mapping, walk};
use super::{Found, PAGE_MASK, Parts, Way, set};
use crate::cpu::{CodeSize, Cpu, attention};
use crate::interp::op::Stop;

impl Cpu {
    /// Asks the machine, or takes its answer when the instruction runs again.
    pub(crate) fn external(&mut self, exit: Exit) -> Result<u64, Stop> {
        if let Some(answer) = self.replay.next() {
            return Ok(answer);
        }
        self.exit = Some(exit);
        Err(Stop::Exit)
    }

    fn access(&self, write: bool, system: bool) -> Access {
        let open = !system && self.rflags & rflags::AC != 0;
        Access {
            write,
            fetch: false,
            user: self.cpl == 3 && !system,
            open,
        }
    }

    /// Translates one access of `len` bytes, as far as they lie in the page, filling the TLB. Answers
    /// the guest-physical address.
    fn locate(&mut self, gla: u64, len: u64, write: bool, system: bool) -> Result<u64, Stop> {
        if !Cpu::canonical(gla) {
            return Err(Stop::NonCanonical);
        }
        let access = self.access(write, system);
        let mapping = match walk(self, gla, access) {
            Ok(mapping) => mapping,
            Err(exception) => return self.raise(exception),
        };
        let gpa = mapping.gpa() | gla & 0xfff;
        if write {
            let lines = Lines::of(gpa, len);
            self.mmu.note_in_journal(gpa, lines);
            if self.mmu.note_write(gpa, lines) {
                self.limit = 0;
            }
        }
        let asked = if write { Way::Write } else { Way::Read };
        self.fill(gla, mapping, system, asked);
        Ok(gpa)
    }

    fn fill(&mut self, gla: u64, mapping: Mapping, system: bool, asked: Way) {
        let set = if system {
            set::SUPERVISOR
        } else {
            self.mmu.current
        };
        if set == set::CHECKED || self.is_watched(gla) {
            return;
        }
        let (page, gpa) = (gla & PAGE_MASK, mapping.gpa());
        let writable = mapping.is_writable() && self.mmu.may_write_directly(gpa, set, page);
        let Some(region) = self.mmu.region(gpa) else {
            return;
        };
        let host = region.host + (gpa - region.base);
        let guarded = if writable {
            region.tracker.claim(region.page(gpa))
        } else {
            Lines::ALL
        };
        if mapping.is_large() || mapping.is_huge() {
            self.mmu.note_large(gla, mapping.is_huge());
        }
        let found = Found {
            gpa,
            host,
            global: mapping.is_global(),
            read: mapping.is_readable(),
            write: guarded.is_empty(),
        };
        self.mmu.fill(set, page, found, asked);
        if !guarded.is_empty() && guarded != Lines::ALL {
            self.mmu.fill_beside(set, page, gpa, guarded);
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn read_slow(&mut self, gla: u64, size: u8, system: bool) -> Result<u64, Stop> {
        let parts = (!system).then(|| self.direct_parts(Way::Read, gla, size.into()));
        if let Some(parts) = parts.flatten() {
            if parts.here == u64::from(size) {
                return Ok(load_sized(parts.first, size));
            }
            let bytes = (0..u64::from(size)).rev();
            return Ok(bytes.fold(0, |value, n| value << 8 | load_sized(parts.byte(n), 1)));
        }
        self.check_access(gla, size, false, system)?;
        let here = 0x1000 - (gla & 0xfff);
        if here >= u64::from(size) {
            let gpa = self.locate(gla, size.into(), false, system)?;
            return self.read_physical(gpa, size, system);
        }
        let rest = u64::from(size) - here;
        let first = self.locate(gla, here, false, system)?;
        let second = self.locate(self.next_page(gla), rest, false, system)?;
        let mut value = 0;
        for n in (0..u64::from(size)).rev() {
            let gpa = if n < here {
                first + n
            } else {
                second + (n - here)
            };
            value = value << 8 | self.read_physical(gpa, 1, system)?;
        }
        Ok(value)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn write_slow(
        &mut self,
        gla: u64,
        size: u8,
        value: u64,
        system: bool,
    ) -> Result<(), Stop> {
        let parts = (!system).then(|| self.direct_parts(Way::Write, gla, size.into()));
        if let Some(parts) = parts.flatten() {
            if parts.here == u64::from(size) {
                store_sized(parts.first, size, value);
            } else {
                (0..u64::from(size))
                    .for_each(|n| store_sized(parts.byte(n), 1, value >> (n * 8) & 0xff));
            }
            return Ok(());
        }
        self.check_access(gla, size, true, system)?;
        let here = 0x1000 - (gla & 0xfff);
        let first = self.locate(gla, size.into(), true, system)?;
        if here >= u64::from(size) {
            return self.write_physical(first, size, value, system);
        }
        let rest = u64::from(size) - here;
        let second = self.locate(self.next_page(gla), rest, true, system)?;
        for n in 0..u64::from(size) {
            let gpa = if n < here {
                first + n
            } else {
                second + (n - here)
            };
            self.write_physical(gpa, 1, value >> (n * 8) & 0xff, system)?;
        }
        Ok(())
    }

    /// Checks that `size` bytes at `gla` may be written, without writing.
    pub(crate) fn prepare_write(&mut self, gla: u64, size: u32) -> Result<(), Stop> {
        if self.direct_parts(Way::Write, gla, size.into()).is_some() {
            return Ok(());
        }
        let here = 0x1000 - (gla & 0xfff);
        self.locate(gla, size.into(), true, false)?;
        if here < u64::from(size) {
            self.locate(self.next_page(gla), u64::from(size) - here, true, false)?;
        }
        Ok(())
    }

    /// Checks that `size` bytes at `gla` may be read, without reading.
    pub(crate) fn prepare_read(&mut self, gla: u64, size: u32) -> Result<(), Stop> {
        if self.direct_parts(Way::Read, gla, size.into()).is_some() {
            return Ok(());
        }
        let here = 0x1000 - (gla & 0xfff);
        self.locate(gla, size.into(), false, false)?;
        if here < u64::from(size) {
            self.locate(self.next_page(gla), u64::from(size) - here, false, false)?;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn host_for_update_slow(&mut self, gla: u64, size: u8) -> Result<Option<u64>, Stop> {
        if let Some(parts) = self.direct_parts(Way::Write, gla, size.into()) {
            return Ok((parts.here == u64::from(size)).then_some(parts.first));
        }
        self.check_access(gla, size, true, false)?;
        let gpa = self.locate(gla, size.into(), true, false)?;
        let here = 0x1000 - (gla & 0xfff);
        if here < u64::from(size) {
            self.locate(self.next_page(gla), u64::from(size) - here, true, false)?;
            return Ok(None);
        }
        Ok(self
            .mmu
            .writable(gpa)
            .map(|region| region.host + (gpa - region.base)))
    }

    /// Where the TLB says that an access with the current privilege is.
    fn direct_parts(&mut self, way: Way, gla: u64, len: u64) -> Option<Parts> {
        let next = self.next_page(gla);
        self.mmu.direct_parts(way, gla, next, len)
    }

    fn next_page(&self, gla: u64) -> u64 {
        let next = (gla & PAGE_MASK).wrapping_add(0x1000);
        if self.code_size == CodeSize::Bits64 {
            next
        } else {
            next & 0xffff_ffff
        }
    }

    fn read_physical(&mut self, gpa: u64, size: u8, system: bool) -> Result<u64, Stop> {
        if self.mmu.region(gpa).is_some() || system {
            return Ok(physical_read(self, gpa, size));
        }
        self.external(Exit::MmioRead {
            gpa: Gpa(gpa),
            size,
        })
    }

    fn write_physical(&mut self, gpa: u64, size: u8, value: u64, system: bool) -> Result<(), Stop> {
        if self.mmu.writable(gpa).is_some() || system {
            physical_write(self, gpa, size, value);
            return Ok(());
        }
        self.external(Exit::MmioWrite {
            gpa: Gpa(gpa),
            size,
            value,
        })
        .map(|_| ())
    }

    /// Alignment checking and data breakpoints.
    fn check_access(&mut self, gla: u64, size: u8, write: bool, system: bool) -> Result<(), Stop> {
        if self.mmu.is_checked() && !system && gla & u64::from(size - 1) != 0 {
            return self.raise(Exception::with_code(vector::AC, 0));
        }
        if self.dr[5] & 0xff != 0 && !system {
            self.note_data_breakpoints(gla, u64::from(size), write);
        }
        Ok(())
    }

    /// Does a data breakpoint lie in the page of `gla`?
    fn is_watched(&self, gla: u64) -> bool {
        let enabled =
            |n: usize| self.dr[5] >> (2 * n) & 3 != 0 && self.dr[5] >> (16 + 4 * n) & 3 != 0;
        self.dr[5] & 0xff != 0
            && (0..4).any(|n| {
                let last = self.dr[n].wrapping_add(7) & PAGE_MASK;
                enabled(n) && (self.dr[n] & PAGE_MASK == gla & PAGE_MASK || last == gla & PAGE_MASK)
            })
    }

    fn note_data_breakpoints(&mut self, gla: u64, size: u64, write: bool) {
        for n in 0..4 {
            let kind = self.dr[5] >> (16 + 4 * n) & 3;
            let enabled = self.dr[5] >> (2 * n) & 3 != 0;
            let matches = match kind {
                1 => write,
                3 => true,
                _ => false,
            };
            let length = [1, 2, 8, 4][(self.dr[5] >> (18 + 4 * n) & 3) as usize];
            let base = self.dr[n] & !(length - 1);
            if enabled
                && matches
                && gla < base.wrapping_add(length)
                && base < gla.wrapping_add(size)
            {
                self.debug_pending |= 1 << n;
                self.attention |= attention::DEBUG;
                self.limit = 0;
            }
        }
    }
}
