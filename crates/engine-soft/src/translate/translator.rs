//! What is translated, and running it.

use std::arch::is_x86_feature_detected;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use engine::{CodeListener, Place};
use memory::{Gla, Lines, Named};
use rustc_hash::FxHashMap;

use super::assembler::{Assembler, Section};
use super::code_memory_raw::CodeMemory;
use super::crossings::{self, Allowed};
use super::emitter::Frame;
use super::facts::Forms;
use super::huge_pages_raw::HUGE_PAGE;
use super::inherited_raw::Inherited;
use super::make::{self, Tools};
use super::mode::Mode;
use super::runtime_raw::{self, Stubs, Way};
use super::unit::{Kind, Left, Link, Referred, Unit, key};
use crate::cpu::Cpu;
use crate::interp::decode::Context;
use crate::interp::fetch::{CodePage, LONGEST_INSTRUCTION, fetched_page, needs_more, next_page};
use crate::mmu::PAGE_MASK;
use crate::mmu::access_raw::fetch_bytes;

/// Units refer to instructions, 64 bytes each: to one for so many bytes of room at most, before all are thrown away.
/// Their jumps that are not patched yet are as many at most.
pub(super) const ROOM_OF_SITE: usize = 48;
/// So many units are known at most, those that there cannot be among them, before all are forgotten.
pub(super) const MOST_UNITS: usize = 1 << 20;
const HEAT_SLOTS: usize = 1 << 15;
pub(super) const SECTIONS: [Section; 2] = [Section::Hot, Section::Cold];
/// After so many runs of cold code all of it is cold again, or code that is rewritten all the time would
/// find every slot warm.
const COOLING: u32 = 1 << 17;

/// Translations of one guest-physical page.
#[derive(Debug)]
pub(super) struct PageCode {
    /// As it was when it was first translated.
    pub(super) source: CodePage,
    /// By [`key`]; `None` where there cannot be a unit.
    pub(super) units: FxHashMap<u32, Option<Unit>>,
    /// Those that another made, in [`Inherited`].
    pub(super) before: Range<u32>,
    /// Of units that cross into the next page, by the same key: their stamps, and what is there.
    pub(super) seconds: FxHashMap<u32, (u32, CodePage)>,
    /// Where jump tables know of them, or knew.
    jumps: Vec<u32>,
}

impl PageCode {
    fn new(source: CodePage, before: Range<u32>) -> PageCode {
        PageCode {
            source,
            units: FxHashMap::default(),
            before,
            seconds: FxHashMap::default(),
            jumps: Vec::new(),
        }
    }

    /// `Some(None)` where there cannot be a unit.
    pub(super) fn unit(&self, inherited: Option<&Inherited>, key: u32) -> Option<Option<Unit>> {
        let own = self.units.get(&key).copied();
        own.or_else(|| inherited?.unit(&self.before, key))
    }

    /// Answers whether there are too many to remember: a guest may map one page at many addresses.
    fn note_jump(&mut self, place: u32) -> bool {
        const MANY: usize = 1024;
        self.jumps.push(place);
        if self.jumps.len() < MANY {
            return false;
        }
        self.jumps.sort_unstable();
        self.jumps.dedup();
        self.jumps.len() > MANY / 2
    }
}

/// What was done, for people.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) units: u64,
    pub(crate) instructions: u64,
    pub(crate) entries: u64,
    pub(crate) links: u64,
    pub(crate) pages_died: u64,
    pub(crate) cleared: u64,
}

pub(crate) struct Translator {
    pub(super) memory: CodeMemory,
    pub(super) stubs: Stubs,
    pub(super) asm: Assembler,
    forms: Forms,
    pub(super) referred: Referred,
    pub(super) pages: FxHashMap<u64, PageCode>,
    /// What another's vCPU had translated, of pages that nobody has asked for yet.
    pub(super) inherited: Option<Inherited>,
    /// Units made since everything was last thrown away.
    pub(super) known: usize,
    /// Given to units that cross into the next page.
    pub(super) stamps: u32,
    heat: Box<[u8]>,
    /// Times that code was not warm since all was made cold.
    cooled: u32,
    bmi2: bool,
    /// As [`Translator::new`] was told.
    pub(super) watched: bool,
    /// Units run one at a time and are checked: see `crate::lockstep`.
    pub(super) checked: bool,
    /// Code is translated when it is about to run for the so-manieth time.
    warm: u8,
    pub(crate) counters: Counters,
    /// Who wants to hear of each unit.
    listener: Option<Arc<dyn CodeListener>>,
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Translator({:?})", self.counters)
    }
}

impl Translator {
    /// With so many bytes of room for code, a few more perhaps. `None` when the host gives no executable memory, or lacks SSE4.2. When it is
    /// `watched`, samples tell handlers from translated code, which costs each of their calls a nanosecond or two.
    pub(crate) fn new(warm: u8, watched: bool, room: usize) -> Option<Translator> {
        is_x86_feature_detected!("sse4.2").then_some(())?;
        let room = room.next_multiple_of(HUGE_PAGE);
        let mut memory = CodeMemory::new(room)?;
        let mut asm = Assembler::new();
        let [hot, cold] = SECTIONS.map(|section| memory.next(section));
        asm.start(hot, cold);
        let stubs = Stubs::write(&mut asm, watched);
        memory.add(asm.bytes(Section::Hot), &[]).then_some(())?;
        memory.keep();
        Some(Translator {
            referred: Referred::new(memory.room() / ROOM_OF_SITE)?,
            memory,
            stubs,
            asm,
            forms: Forms::new(),
            pages: FxHashMap::default(),
            inherited: None,
            known: 0,
            stamps: 0,
            heat: vec![0; HEAT_SLOTS].into_boxed_slice(),
            cooled: 0,
            warm,
            checked: false,
            watched,
            bmi2: is_x86_feature_detected!("bmi2"),
            counters: Counters::default(),
            listener: None,
        })
    }

    /// One whose units are checked: nothing leads from one to another.
    pub(crate) fn checked(self) -> Translator {
        Translator {
            checked: true,
            ..self
        }
    }

    #[inline]
    pub(crate) fn is_checked(&self) -> bool {
        self.checked
    }

    /// Tells `listener` of what there is, and of each unit from now on.
    pub(crate) fn tell(&mut self, listener: Arc<dyn CodeListener>) {
        let (start, len) = self.memory.kept();
        listener.made(None, start, len);
        self.listener = Some(listener);
    }

    /// The unit at RIP, if there is one.
    pub(crate) fn unit_at(&mut self, cpu: &mut Cpu) -> Option<u64> {
        cpu.mmu.tell_jumps(&mut cpu.native.jumps, 0);
        Some(self.find(cpu, Want::Unit { warm: false })?.inner)
    }

    /// Runs the unit that [`Translator::unit_at`] found, and no other but plain ones in its stead.
    pub(crate) fn run_one(&mut self, cpu: &mut Cpu, mut entry: u64) -> Left {
        loop {
            match self.enter(cpu, entry) {
                Entered::Left(left) => return left,
                Entered::AtLink(link) if link.kind == Kind::Usual => return Left::Next,
                Entered::AtLink(link) => match self.find(cpu, Want::Linked(link.kind)) {
                    Some(found) => entry = found.inner,
                    None => return Left::Interpret,
                },
            }
        }
    }

    /// The code at RIP and what it becomes, as text.
    pub(crate) fn listing(&mut self, cpu: &mut Cpu) -> Option<String> {
        let mode = Mode::of(cpu)?;
        let (page, _) = cpu.mmu.fetch_mapping(cpu.rip)?;
        let offset = (cpu.rip & !PAGE_MASK) as u16;
        let mut bytes = [0; 0x1000];
        let have = fetch_bytes(cpu, page | u64::from(offset), &mut bytes);
        let frame = self.frame(&self.stubs, mode, offset, page);
        let context = Context::of(cpu);
        let base = self.memory.next(Section::Hot);
        super::listing::listing(frame, base, &bytes[..have], context, cpu.rip)
    }

    fn frame<'a>(&self, stubs: &'a Stubs, mode: Mode, unit: u16, page: u64) -> Frame<'a> {
        Frame {
            kind: Kind::Usual,
            stubs,
            mode,
            bmi2: self.bmi2,
            checked: self.checked,
            unit,
            page,
            crosses: None,
        }
    }

    /// Instructions that code refers to.
    #[cfg(test)]
    pub(crate) fn sites(&self) -> usize {
        self.referred.sites.len()
    }

    /// Bytes of translated code.
    pub(crate) fn code_bytes(&self) -> usize {
        self.memory.used()
    }

    /// Bytes that there is room for.
    pub(crate) fn code_room(&self) -> usize {
        self.memory.room()
    }

    /// Code is translated when it is about to run for the so-manieth time.
    #[inline]
    pub(crate) fn warm(&self) -> u8 {
        self.warm
    }

    /// Runs translated code from RIP on, if there is any, or the code is `warm`.
    pub(crate) fn run(&mut self, cpu: &mut Cpu, warm: bool) -> Option<Left> {
        cpu.mmu.tell_jumps(&mut cpu.native.jumps, 0);
        let mut entry = self.find(cpu, Want::Unit { warm })?.inner;
        loop {
            let link = match self.enter(cpu, entry) {
                Entered::Left(left) => return Some(left),
                Entered::AtLink(link) => link,
            };
            let Some(found) = self.find(cpu, Want::Linked(link.kind)) else {
                // The usual unit here may be the one that just gave up.
                return Some(match link.kind {
                    Kind::Usual => Left::Next,
                    Kind::Plain => Left::Interpret,
                });
            };
            entry = found.inner;
            if found.page == link.page && found.cleared == self.counters.cleared {
                self.memory.patch_jump(link.patch, entry);
                self.counters.links += 1;
            }
        }
    }

    /// Runs translated code at `entry`, which RIP belongs to, until it is left; RIP is right then,
    /// unless a handler stopped.
    fn enter(&mut self, cpu: &mut Cpu, entry: u64) -> Entered {
        cpu.native.page_base = cpu.rip & PAGE_MASK;
        self.counters.entries += 1;
        match runtime_raw::enter(cpu, &self.stubs, entry) {
            Way::Next => Entered::Left(Left::Next),
            Way::Interpret => Entered::Left(Left::Interpret),
            Way::Stopped(stop, unit, op) => {
                let start = cpu.native.page_base.wrapping_add(u64::from(unit));
                Entered::Left(Left::Stopped(stop, start, op))
            }
            Way::Link(link) => {
                cpu.rip = cpu.native.page_base | u64::from(link.target);
                Entered::AtLink(link)
            }
        }
    }

    /// The unit at RIP, translated now if it is warm. Nobody comes to a plain one by chance.
    fn find(&mut self, cpu: &mut Cpu, want: Want) -> Option<Found> {
        let mode = Mode::of(cpu)?;
        // A restored RIP may lie outside every segment.
        (cpu.rip & !mode.ip_mask() == 0).then_some(())?;
        let (page, kind) = match cpu.mmu.fetch_mapping(cpu.rip) {
            Some(mapping) => mapping,
            None => {
                // A fault is found again, and raised, by the interpreter.
                fetched_page(cpu, cpu.rip).ok()?;
                cpu.mmu.fetch_mapping(cpu.rip)?
            }
        };
        let kind_of_unit = match want {
            Want::Unit { .. } => Kind::Usual,
            Want::Linked(kind) => kind,
        };
        let is_warm = kind_of_unit == Kind::Plain || want == Want::Unit { warm: true };
        let key = key((cpu.rip & !PAGE_MASK) as u16, mode, kind_of_unit);
        let cleared = self.counters.cleared;
        let unit = match self.look(cpu, page, key, mode)? {
            Looked::Unit(unit) => unit,
            Looked::Never => return None,
            Looked::Nothing(generation) => {
                let generation = generation.or_else(|| cpu.mmu.generation(page))?;
                let warm = is_warm || self.is_warm(page | u64::from(key), generation);
                warm.then_some(())?;
                cpu.native.whereabouts.set(Place::Translating);
                let made = self.translate(cpu, page, key, mode, Across::Follow);
                cpu.native.whereabouts.set(Place::Interpreter);
                let unit = made?;
                self.look_across(cpu, page, key, mode)?;
                unit
            }
        };
        if want != Want::Linked(kind_of_unit) {
            let jumps = &mut cpu.native.jumps;
            // What is checked comes out at each jump.
            let outer = if self.checked {
                self.stubs.leave_at
            } else {
                unit.outer
            };
            let place = jumps.fill(mode, cpu.rip, outer, page, kind);
            if let Some(code) = self.pages.get_mut(&page)
                && code.note_jump(place)
            {
                jumps.drop_page_at(page, &code.jumps);
                code.jumps.clear();
            }
        }
        Some(Found {
            inner: unit.inner,
            page,
            cleared,
        })
    }

    /// What is known of the code with this key in its page as it is now. `None` where to ask faults.
    fn look(&mut self, cpu: &mut Cpu, page: u64, key: u32, mode: Mode) -> Option<Looked> {
        self.inherit(cpu, page);
        let Some(mut code) = self.pages.get(&page) else {
            return Some(Looked::Nothing(None));
        };
        if !code.source.is_current() {
            self.bury_page(cpu, page);
            return Some(Looked::Nothing(None));
        }
        if !code.seconds.is_empty() {
            self.look_across(cpu, page, key, mode)?;
            code = self.pages.get(&page)?;
        }
        Some(match code.unit(self.inherited.as_ref(), key) {
            Some(Some(unit)) => Looked::Unit(unit),
            Some(None) => Looked::Never,
            None => Looked::Nothing(Some(code.source.generation)),
        })
    }

    /// What another had of a page, if this is the first time that it is asked for.
    pub(super) fn inherit(&mut self, cpu: &Cpu, page: u64) {
        if let Some(inherited) = &self.inherited
            && let Entry::Vacant(place) = self.pages.entry(page)
            && let Some((source, units)) = inherited.of_page(cpu, page)
        {
            self.known += units.len();
            place.insert(PageCode::new(source, units));
        }
    }

    /// A unit that crosses into the next page may run if that is what it was; otherwise it is
    /// forgotten.
    fn look_across(&mut self, cpu: &mut Cpu, page: u64, key: u32, mode: Mode) -> Option<()> {
        let Some(code) = self.pages.get_mut(&page) else {
            return Some(());
        };
        let Some((stamp, second)) = code.seconds.get(&key) else {
            return Some(());
        };
        if page_across(cpu, mode)? == second.page && second.is_current() {
            let slot = crossings::slot(page, mode);
            let linear = cpu.rip & PAGE_MASK;
            let pages = [linear, next_page(cpu, linear)];
            let mut kinds = pages.into_iter().map(|page| cpu.mmu.fetch_mapping(page));
            let allowed = Allowed {
                stamp: *stamp,
                linear,
                second: second.page,
                global: kinds.all(|found| found.is_some_and(|(_, kind)| kind.global)),
            };
            cpu.native.jumps.crossings.allow(slot, allowed);
        } else {
            code.seconds.remove(&key);
            code.units.remove(&key);
        }
        Some(())
    }

    /// Has the code with this key run often enough since it was written?
    fn is_warm(&mut self, key: u64, generation: u32) -> bool {
        let key = key ^ u64::from(generation) << 40;
        self.cooled += 1;
        if self.cooled > COOLING {
            self.cooled = 0;
            self.heat.fill(0);
        }
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let heat = &mut self.heat[hash as usize % HEAT_SLOTS];
        *heat = heat.saturating_add(1);
        *heat >= self.warm
    }

    /// Makes the unit with this key; `None` where there cannot be one, and when everything had to go.
    pub(super) fn translate(
        &mut self,
        cpu: &mut Cpu,
        page: u64,
        key: u32,
        mode: Mode,
        across: Across,
    ) -> Option<Unit> {
        // Also after what was made and not kept.
        if !self.referred.has_room() || self.known > MOST_UNITS {
            self.clear(cpu);
            return None;
        }
        let mut bytes = [0; make::LONGEST + LONGEST_INSTRUCTION];
        let offset = (key & 0xfff) as u16;
        let mut have = fetch_bytes(cpu, page | u64::from(offset), &mut bytes[..make::LONGEST]);
        let stubs = self.stubs;
        let mut frame = self.frame(&stubs, mode, offset, page);
        frame.kind = if key >> 17 == 0 {
            Kind::Usual
        } else {
            Kind::Plain
        };
        let context = Context {
            code: mode.code_size(),
            available: cpu.available,
        };
        let here = have;
        let mut next = None;
        if needs_more(&bytes[..have], context.code) {
            (across == Across::Follow).then_some(())?;
            let page = page_across(cpu, mode)?;
            // What lies in no RAM may be another each time.
            cpu.mmu.tracker(page)?;
            next = Some(page);
            have += fetch_bytes(cpu, page, &mut bytes[have..have + LONGEST_INSTRUCTION]);
            self.stamps = self.stamps.wrapping_add(1);
            frame.crosses = Some(self.stamps);
        }
        let places = SECTIONS.map(|section| self.memory.next(section));
        self.asm.start(places[0], places[1]);
        let tools = Tools {
            asm: &mut self.asm,
            forms: &mut self.forms,
            referred: &mut self.referred,
        };
        let made = make::unit(tools, frame, &bytes[..have], context);
        let rest = Lines::of(offset.into(), here as u64);
        let lines = made.as_ref().map_or(rest, |made| made.lines);
        // Which lines these are is known only now. What was written before was not told: another time.
        let source = CodePage::note(cpu, page, lines)?;
        let changed = has_changed(cpu, page | u64::from(offset), &bytes[..here], lines);
        let mut second = None;
        let mut second_changed = false;
        if let Some(next) = next {
            let lines = Lines::of(next, (have - here) as u64);
            second = Some(CodePage::note(cpu, next, lines)?);
            second_changed = has_changed(cpu, next, &bytes[here..have], lines);
        }
        if changed || second_changed {
            return None;
        }
        let [hot, cold] = SECTIONS.map(|section| self.asm.bytes(section));
        if made.is_some() && !self.memory.add(hot, cold) {
            self.clear(cpu);
            return None;
        }
        let code = self
            .pages
            .entry(page)
            .or_insert_with(|| PageCode::new(source, 0..0));
        let (unit, instructions) =
            made.map_or((None, 0), |made| (Some(made.unit), made.instructions));
        self.counters.units += 1;
        self.counters.instructions += instructions as u64;
        if let (Some(listener), Some(_)) = (&self.listener, &unit) {
            for (host, code) in places.into_iter().zip([hot, cold]) {
                listener.made(Some(Gla(cpu.rip)), host, code.len());
            }
        }
        code.units.insert(key, unit);
        code.seconds.remove(&key);
        if let Some(second) = second {
            code.seconds.insert(key, (self.stamps, second));
        }
        self.known += 1;
        unit
    }

    /// Forgets the translations of pages whose code died.
    pub(crate) fn bury(&mut self, cpu: &mut Cpu, dead: &Named) {
        match dead {
            Named::Pages(pages) => {
                for page in pages {
                    cpu.native.jumps.crossings.forget(page.0);
                    if self
                        .pages
                        .get(&page.0)
                        .is_some_and(|code| !code.source.is_current())
                    {
                        self.bury_page(cpu, page.0);
                    }
                }
            }
            Named::All => {
                cpu.native.jumps.crossings.clear();
                let died =
                    |(page, code): (&u64, &PageCode)| (!code.source.is_current()).then_some(*page);
                let pages: Vec<u64> = self.pages.iter().filter_map(died).collect();
                for page in pages {
                    self.bury_page(cpu, page);
                }
            }
        }
    }

    fn bury_page(&mut self, cpu: &mut Cpu, page: u64) {
        if let Some(code) = self.pages.remove(&page) {
            cpu.native.jumps.drop_page_at(page, &code.jumps);
        }
        self.counters.pages_died += 1;
    }

    /// Throws everything away: the memory is full.
    fn clear(&mut self, cpu: &mut Cpu) {
        self.pages.clear();
        self.inherited = None;
        self.known = 0;
        self.memory.clear();
        self.referred.clear();
        cpu.native.jumps.clear();
        self.counters.cleared += 1;
    }
}

/// Guest-physical page that the instruction at RIP crosses into. `None` where that faults, as it does over
/// the end of 32-bit segments.
fn page_across(cpu: &mut Cpu, mode: Mode) -> Option<u64> {
    let next = next_page(cpu, cpu.rip);
    (!mode.code32 || next != 0).then_some(())?;
    // A fault is found again, and raised, by the interpreter.
    fetched_page(cpu, next).ok()
}

/// Do the bytes at `gpa`, as far as they lie in `lines`, differ from what they were?
fn has_changed(cpu: &Cpu, gpa: u64, before: &[u8], lines: Lines) -> bool {
    let first = (gpa & !PAGE_MASK) as usize;
    let end = (lines.end() as usize).clamp(first, first + before.len());
    let mut now = [0; make::LONGEST];
    let have = fetch_bytes(cpu, gpa, &mut now[..end - first]);
    now[..have] != before[..have]
}

/// What becomes of an instruction that crosses into the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Across {
    /// The page that is there now, behind RIP.
    Follow,
    /// There is no unit.
    Stop,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// What runs at RIP, to be entered in the table of jumps. Is it known to be warm?
    Unit { warm: bool },
    /// The target of a link.
    Linked(Kind),
}

/// How translated code was left.
enum Entered {
    Left(Left),
    /// At a jump that can be made to go to its target's unit; RIP is there.
    AtLink(Link),
}

/// What is known of the code at an address.
enum Looked {
    Unit(Unit),
    /// There cannot be a unit.
    Never,
    /// Nothing; and the page's generation, where that is known.
    Nothing(Option<u32>),
}

/// A unit to go on in.
struct Found {
    inner: u64,
    /// Guest-physical page.
    page: u64,
    /// How often everything had been thrown away before it was looked for.
    cleared: u64,
}
