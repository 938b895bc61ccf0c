//! What the addresses from 0xC0000 to 1 MiB show: ROM, RAM, or one to read and the other to write.
//!
//! The last 128 KiB show the end of firmware's ROM where they do not show RAM. Below them there is no ROM,
//! so they always show RAM, which may be closed to writes. What a vCPU writes to what it does not read
//! comes here as an access to a device.

use std::sync::{Arc, Mutex};

use devices::pc::{SEGMENTS, Segment, Shadow, ShadowMap};
use engine::Engine;
use memory::{Gpa, GuestMemory, PageKind, RamRange};

use crate::bus::Region;
use crate::choice::chain;
use crate::control::{MachineControl, Outcome};
use crate::layout::{BIOS_AREA, BIOS_AREA_END, VGA_HOLE_END};
use crate::sync::lock;

type Shadows = [Shadow; SEGMENTS.len()];

/// Tells memory and engine what the chipset's registers say.
#[derive(Debug)]
pub(crate) struct ShadowMapper {
    memory: GuestMemory,
    engine: Arc<dyn Engine>,
    control: MachineControl,
    shadows: Mutex<Shadows>,
}

impl ShadowMapper {
    pub(crate) fn new(
        memory: GuestMemory,
        engine: Arc<dyn Engine>,
        control: MachineControl,
    ) -> Arc<ShadowMapper> {
        Arc::new(ShadowMapper {
            memory,
            engine,
            control,
            shadows: Mutex::default(),
        })
    }

    /// Where in ROM `segment` is, if it is.
    fn rom(&self, segment: Segment) -> Option<Gpa> {
        let rom = self.memory.rom()?;
        let before_end = BIOS_AREA_END.0 - u64::from(segment.first);
        let is_firmware = u64::from(segment.first) >= BIOS_AREA.0 && before_end <= rom.len;
        is_firmware.then(|| Gpa(rom.base.0 + rom.len - before_end))
    }

    fn apply(&self, segment: Segment, shadow: Shadow) -> std::io::Result<()> {
        let range = RamRange {
            base: Gpa(segment.first.into()),
            len: segment.len.into(),
        };
        let rom = self.rom(segment).filter(|_| !shadow.read_ram);
        self.memory.show(range, rom.unwrap_or(range.base))?;
        let kind = if shadow.write_ram && rom.is_none() {
            PageKind::Ram
        } else {
            PageKind::Rom
        };
        self.memory.set_kind(range, kind);
        Ok(())
    }

    /// A write that reached no memory.
    fn write(&self, at: u64, bytes: &[u8]) {
        let shadows = lock(&self.shadows);
        let holds = |segment: &Segment| {
            let first = u64::from(segment.first);
            (first..first + u64::from(segment.len)).contains(&at)
        };
        let segment = SEGMENTS.iter().position(holds);
        if segment.is_some_and(|index| shadows[index].write_ram) {
            // It is RAM, of this guest.
            let _ = self.memory.write_own(Gpa(at), bytes);
        }
    }
}

impl ShadowMap for ShadowMapper {
    fn set(&self, shadows: &Shadows) {
        let mut current = lock(&self.shadows);
        *current = *shadows;
        let mut applied = SEGMENTS.iter().zip(shadows);
        let failed = applied.find_map(|(segment, shadow)| self.apply(*segment, *shadow).err());
        let failed = failed.map(|error| error.to_string());
        let told = self
            .engine
            .memory_changed()
            .err()
            .map(|error| chain(&error));
        if let Some(why) = failed.or(told) {
            let what = format!("the host cannot map the guest's firmware: {why}");
            self.control.end(Outcome::EngineFailed(what));
        }
    }
}

/// The area on the bus, for writes that go where reads do not.
#[derive(Debug)]
pub(crate) struct ShadowWrites(pub(crate) Arc<ShadowMapper>);

impl ShadowWrites {
    pub(crate) const BASE: Gpa = VGA_HOLE_END;
    pub(crate) const LEN: u64 = BIOS_AREA_END.0 - VGA_HOLE_END.0;
}

impl Region for ShadowWrites {
    /// Memory answers all reads.
    fn read(&self, _offset: u64, _size: u8) -> u64 {
        u64::MAX
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        let bytes = value.to_le_bytes();
        let count = usize::from(size).min(bytes.len());
        self.0.write(ShadowWrites::BASE.0 + offset, &bytes[..count]);
    }

    fn name(&self) -> &'static str {
        "bios-area"
    }
}
