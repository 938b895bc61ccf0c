//! What a translator leaves to those that go on where its vCPU is, and begins with where its own does.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::assembler::Section;
use super::code_memory_raw::CodeMemory;
use super::image::{self, Head, Parts};
use super::inherited_raw::{Inherited, Mapped, NEVER, PageEntry, UnitEntry};
use super::made_by_raw::MadeBy;
use super::mode::Mode;
use super::runtime_raw::Stubs;
use super::translator::{Across, MOST_UNITS, ROOM_OF_SITE, SECTIONS, Translator};
use super::unit::{Kind, Referred, key};
use crate::cpu::Cpu;
use crate::interp::vector;
use crate::mmu::PAGE_MASK;

impl Translator {
    /// Translates what may run for the first time: the code at `gpa`, in this mode. False where there is no room
    /// for more.
    pub(crate) fn prepare(&mut self, cpu: &mut Cpu, gpa: u64, mode: Mode) -> bool {
        let (page, offset) = (gpa & PAGE_MASK, (gpa & !PAGE_MASK) as u16);
        let key = key(offset, mode, Kind::Usual);
        let full = self.memory.used() > self.memory.room() / 4 * 3 || self.known > MOST_UNITS / 2;
        if full || !self.referred.has_room() {
            return false;
        }
        self.inherit(cpu, page);
        let known = self.pages.get(&page).is_some_and(|code| {
            // What died is thrown away when it is next looked for.
            code.unit(self.inherited.as_ref(), key).is_some() || !code.source.is_current()
        });
        if !known {
            self.translate(cpu, page, key, mode, Across::Stop);
        }
        true
    }

    /// Has all jumps go where they lead to, as they do once they were taken.
    pub(crate) fn link_all(&mut self) {
        for link in self.referred.links.own() {
            let Some(code) = self.pages.get(&link.page) else {
                continue;
            };
            let key = key(link.target, link.mode, link.kind);
            let target = code.unit(self.inherited.as_ref(), key).flatten();
            // One that crosses into another page is not written.
            if let Some(unit) = target.filter(|_| !code.seconds.contains_key(&key)) {
                self.memory.patch_jump(link.patch, unit.inner);
            }
        }
    }

    /// Writes all that is translated to `file` from byte `at` on, for [`Translator::adopt`]. Answers its length.
    ///
    /// # Errors
    /// When the host cannot write it.
    pub(crate) fn write(&self, cpu: &Cpu, file: &File, at: u64) -> io::Result<u64> {
        let (Some(made_by), false) = (MadeBy::this(), self.checked) else {
            return Ok(0);
        };
        let (pages, units) = self.entries(cpu);
        let [hot, cold] = SECTIONS.map(|section| self.memory.code(section));
        let (sites, links) = (&self.referred.sites, &self.referred.links);
        let parts = Parts {
            head: Head {
                made_by,
                room: self.memory.room(),
                base: self.memory.base(Section::Hot),
                sites_base: sites.base(),
                links_base: links.base(),
                stamps: self.stamps,
                ..Head::default()
            },
            hot,
            cold,
            sites: sites.bytes(),
            links: links.bytes(),
            pages,
            units,
            arenas: vector::arenas(),
        };
        image::write(file, at, parts)
    }

    /// Pages whose code is alive, in order, and their units but for those that cross into another.
    fn entries(&self, cpu: &Cpu) -> (Vec<PageEntry>, Vec<UnitEntry>) {
        let base = self.memory.base(Section::Hot);
        let offset = |address: u64| (address - base) as u32;
        let mut entries: Vec<(PageEntry, Vec<UnitEntry>)> = Vec::new();
        let inherited = self.inherited.as_ref();
        let before = |range: Range<u32>| inherited.map_or(&[][..], |all| all.units(&range));
        for (page, code) in &self.pages {
            let whole = code
                .units
                .iter()
                .filter(|(key, _)| !code.seconds.contains_key(key));
            let units = whole.map(|(key, unit)| UnitEntry {
                key: *key,
                inner: unit.map_or(NEVER, |unit| offset(unit.inner)),
                outer: unit.map_or(NEVER, |unit| offset(unit.outer)),
            });
            if code.source.is_current() {
                let mut units: Vec<UnitEntry> = units.collect();
                units.extend(before(code.before.clone()));
                units.sort_unstable_by_key(|unit| unit.key);
                entries.push((PageEntry::new(*page, code.source.lines()), units));
            }
        }
        for entry in inherited.iter().flat_map(|all| all.current(cpu)) {
            if !self.pages.contains_key(&entry.page) {
                entries.push((*entry, before(entry.units()).to_vec()));
            }
        }
        entries.sort_unstable_by_key(|(entry, _)| entry.page);
        let mut all = Vec::new();
        let mut pages = Vec::new();
        for (mut entry, units) in entries {
            (entry.first, entry.count) = (all.len() as u32, units.len() as u32);
            all.extend(units);
            pages.push(entry);
        }
        (pages, all)
    }

    /// Begins with what another vCPU wrote, whose state and memory `cpu` has: the caller vouches for it. Nothing may
    /// have been translated yet. Where that code cannot be had, there is none. Answers how long it is in the file; `None` where there
    /// is nothing.
    pub(crate) fn adopt(&mut self, cpu: &mut Cpu, file: &File, at: u64) -> Option<u64> {
        let head = Head::read(file, at)?;
        if self.pages.is_empty() && !self.checked {
            self.take_over(cpu, file, &head);
        }
        Some(head.len)
    }

    fn take_over(&mut self, cpu: &mut Cpu, file: &File, head: &Head) -> Option<()> {
        let fits = head.made_by == MadeBy::this()? && head.room == self.memory.room();
        fits.then_some(())?;
        let memory = CodeMemory::inherit(head.room, file, head.code())?;
        let [hot, cold] = SECTIONS.map(|section| memory.base(section));
        self.asm.start(hot, cold);
        let stubs = Stubs::write(&mut self.asm, self.watched);
        // It is code as this process makes it.
        let same = memory
            .code(Section::Hot)
            .starts_with(self.asm.bytes(Section::Hot));
        same.then_some(())?;
        let referred = Referred::inherit(
            head.room / ROOM_OF_SITE,
            file,
            (head.sites_base, head.sites),
            (head.links_base, head.links),
        )?;
        let pages = head.read_pages(file)?;
        let units = Mapped::new(file, head.units.at, head.units.len)?;
        for (address, span) in head.arenas.iter().filter(|(_, span)| span.len > 0) {
            vector::adopt_arena(file, *address, span.at, span.len).then_some(())?;
        }
        self.inherited = Some(Inherited::new(cpu, pages, units, hot, head.room));
        (self.memory, self.stubs) = (memory, stubs);
        self.referred = referred;
        self.stamps = head.stamps;
        Some(())
    }
}
