//! Bus 0: the functions on it, and which of them answers an address.
//!
//! Locks: a function's mutex comes before the bus table's; the table is never held while a function
//! is called. So a function may be slow (a reset waits for a disk) without stopping the others.

#![allow(
    clippy::cast_possible_truncation,
    reason = "a 64-bit register is written in halves"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use memory::{DeviceMemory, Gpa};
use thiserror::Error;

use crate::pci::allocator::Allocator;
use crate::pci::config::{BAR_0, BARS_END, COMMAND, HEADER_TYPE, INTERRUPT_LINE, STATUS};
use crate::pci::{
    AssignError, BarKind, BarMapping, COMMAND_IO, COMMAND_MEMORY, DeviceFunction, HostBridge,
    PciFunction, PciWindows, Space,
};
use crate::{DeviceState, RestoreError};

/// A function that others may hold as well.
pub type SharedFunction = Arc<Mutex<dyn PciFunction>>;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum InsertError {
    #[error("PCI slot {device}.{function} is taken")]
    Taken { device: u8, function: u8 },
}

#[derive(Debug, Clone, Copy)]
struct Route {
    owner: DeviceFunction,
    mapping: BarMapping,
}

#[derive(Debug, Default)]
struct Bus {
    functions: BTreeMap<DeviceFunction, SharedFunction>,
    /// The regions of all functions, as their configuration spaces say now.
    routes: Vec<Route>,
    /// RAM behind regions, by function and region.
    memories: BTreeMap<(DeviceFunction, u8), DeviceMemory>,
    windows: Option<Arc<PciWindows>>,
    /// [`PciRoot::assign_bars`] was called: do it again after a reset.
    assigned: bool,
    /// What [`PciRoot::set_interrupt_line`] was told, likewise.
    interrupt_lines: BTreeMap<DeviceFunction, u8>,
    /// What [`PciRoot::may_go`] was told.
    removable: BTreeSet<DeviceFunction>,
}

/// The root complex. Cloning shares it.
#[derive(Debug, Clone)]
pub struct PciRoot {
    bus: Arc<RwLock<Bus>>,
    windows: Arc<PciWindows>,
}

impl PciRoot {
    /// A bus with a host bridge at 00.0.
    #[must_use]
    pub fn new(windows: PciWindows) -> PciRoot {
        PciRoot::with_bridge(windows, HostBridge::new())
    }

    /// A bus with this host bridge at 00.0.
    #[must_use]
    pub fn with_bridge(windows: PciWindows, bridge: impl PciFunction + 'static) -> PciRoot {
        let windows = Arc::new(windows);
        let mut bus = Bus {
            windows: Some(Arc::clone(&windows)),
            ..Bus::default()
        };
        let bridge: SharedFunction = Arc::new(Mutex::new(bridge));
        bus.functions.insert(DeviceFunction::new(0, 0), bridge);
        PciRoot {
            bus: Arc::new(RwLock::new(bus)),
            windows,
        }
    }

    /// Plugs a function in, also while the guest runs.
    ///
    /// # Errors
    /// When the slot is taken.
    pub fn insert(
        &self,
        at: DeviceFunction,
        function: impl PciFunction + 'static,
    ) -> Result<(), InsertError> {
        let mappings = function.config().mappings();
        let memories = function.memories().into_iter();
        let mut bus = self.bus_mut();
        if bus.functions.contains_key(&at) {
            return Err(InsertError::Taken {
                device: at.device(),
                function: at.function(),
            });
        }
        bus.functions.insert(at, Arc::new(Mutex::new(function)));
        bus.memories
            .extend(memories.map(|(bar, memory)| ((at, bar), memory)));
        bus.set_routes(at, mappings);
        Ok(())
    }

    /// Unplugs a function. Whoever has it may still be asked by an access that has begun.
    pub fn remove(&self, at: DeviceFunction) -> Option<SharedFunction> {
        let mut bus = self.bus_mut();
        bus.set_routes(at, Vec::new());
        bus.memories.retain(|(owner, _), _| *owner != at);
        bus.interrupt_lines.remove(&at);
        bus.removable.remove(&at);
        bus.functions.remove(&at)
    }

    /// The function there comes and goes: a saved bus may be without it.
    pub fn may_go(&self, at: DeviceFunction) {
        self.bus_mut().removable.insert(at);
    }

    /// Is there a function, and may it go?
    #[must_use]
    pub fn find_removable(&self, at: DeviceFunction) -> Option<bool> {
        let bus = self.bus.read().unwrap_or_else(PoisonError::into_inner);
        let found = bus.functions.contains_key(&at);
        found.then(|| bus.removable.contains(&at))
    }

    /// Gives every region an address in the windows and turns decoding on, as firmware does. Done
    /// again by [`PciRoot::reset`].
    ///
    /// # Errors
    /// When a window is full; the functions up to there have addresses.
    pub fn assign_bars(&self) -> Result<(), AssignError> {
        self.bus_mut().assigned = true;
        let mut allocator = Allocator::new(&self.windows);
        for (at, function) in self.functions() {
            let mut guard = lock(&function);
            let bars: Vec<_> = guard.config().bars().collect();
            for (index, bar) in bars {
                let base = allocator.take(bar)?;
                let offset = BAR_0 + u16::from(index) * 4;
                guard.config_write(offset, 4, base as u32);
                if bar.kind == BarKind::Memory64 {
                    guard.config_write(offset + 4, 4, (base >> 32) as u32);
                }
            }
            let command = guard.config().command() | COMMAND_IO | COMMAND_MEMORY;
            guard.config_write(COMMAND, 2, u32::from(command));
            let mappings = guard.config().mappings();
            self.bus_mut().set_routes(at, mappings);
        }
        Ok(())
    }

    /// Tells the guest which interrupt a function's INTx pin reaches, as firmware does. Done again
    /// by [`PciRoot::reset`].
    pub fn set_interrupt_line(&self, at: DeviceFunction, gsi: u8) {
        self.bus_mut().interrupt_lines.insert(at, gsi);
        self.config_write(0, at, INTERRUPT_LINE, 1, u32::from(gsi));
    }

    /// Reads configuration space. Where there is no function: all-ones.
    #[must_use]
    pub fn config_read(&self, bus: u8, at: DeviceFunction, offset: u16, size: u8) -> u32 {
        let Some(function) = self.find(bus, at) else {
            return u32::MAX;
        };
        let mut value = lock(&function).config_read(offset, size);
        let header = offset..=offset + u16::from(size) - 1;
        if at.function() == 0 && header.contains(&HEADER_TYPE) && self.is_multifunction(at) {
            value |= 0x80 << (8 * (HEADER_TYPE - offset));
        }
        value
    }

    fn is_multifunction(&self, at: DeviceFunction) -> bool {
        let bus = self.bus.read().unwrap_or_else(PoisonError::into_inner);
        (1..8).any(|function| {
            bus.functions
                .contains_key(&DeviceFunction::new(at.device(), function))
        })
    }

    pub fn config_write(&self, bus: u8, at: DeviceFunction, offset: u16, size: u8, value: u32) {
        let Some(function) = self.find(bus, at) else {
            return;
        };
        let mut guard = lock(&function);
        guard.config_write(offset, size, value);
        if (COMMAND..STATUS).contains(&offset) || (BAR_0..BARS_END).contains(&offset) {
            // Under the function's lock, so that two vCPUs cannot leave an older picture.
            let mappings = guard.config().mappings();
            self.bus_mut().set_routes(at, mappings);
        }
    }

    /// Reads `size` bytes at a guest-physical address in a memory window.
    #[must_use]
    pub fn memory_read(&self, address: u64, size: u8) -> u64 {
        self.region_read(Space::Memory, address, size)
    }

    pub fn memory_write(&self, address: u64, size: u8, value: u64) {
        self.region_write(Space::Memory, address, size, value);
    }

    /// Reads `size` bytes at a port in the I/O window.
    #[must_use]
    pub fn io_read(&self, port: u64, size: u8) -> u64 {
        self.region_read(Space::Io, port, size)
    }

    pub fn io_write(&self, port: u64, size: u8, value: u64) {
        self.region_write(Space::Io, port, size, value);
    }

    fn region_read(&self, space: Space, address: u64, size: u8) -> u64 {
        match self.route(space, address, size) {
            Some((function, bar, offset)) => lock(&function).bar_read(bar, offset, size),
            None => u64::MAX,
        }
    }

    fn region_write(&self, space: Space, address: u64, size: u8, value: u64) {
        if let Some((function, bar, offset)) = self.route(space, address, size) {
            lock(&function).bar_write(bar, offset, size, value);
        }
    }

    fn route(&self, space: Space, address: u64, size: u8) -> Option<(SharedFunction, u8, u64)> {
        let bus = self.bus.read().unwrap_or_else(PoisonError::into_inner);
        let route = bus.routes.iter().find(|route| {
            route.mapping.space == space
                && address
                    .checked_sub(route.mapping.base)
                    .is_some_and(|offset| offset < route.mapping.len)
        })?;
        let offset = address - route.mapping.base;
        if u64::from(size) > route.mapping.len - offset {
            return None;
        }
        let function = bus.functions.get(&route.owner)?;
        Some((Arc::clone(function), route.mapping.bar, offset))
    }

    /// Ends all functions' work on guest memory until [`PciRoot::resume`].
    pub fn quiesce(&self) {
        for (_, function) in self.functions() {
            lock(&function).quiesce();
        }
    }

    pub fn resume(&self) {
        for (_, function) in self.functions() {
            lock(&function).resume();
        }
    }

    /// A timer of the function there has expired.
    pub fn expire(&self, at: DeviceFunction) {
        if let Some(function) = self.find(0, at) {
            lock(&function).expire();
        }
    }

    /// All functions back to power-on; addresses and interrupt lines are given again
    /// where they were before.
    pub fn reset(&self) {
        for (at, function) in self.functions() {
            let mut guard = lock(&function);
            guard.reset();
            let mappings = guard.config().mappings();
            self.bus_mut().set_routes(at, mappings);
        }
        let (assigned, lines) = {
            let bus = self.bus_mut();
            (bus.assigned, bus.interrupt_lines.clone())
        };
        for (at, gsi) in lines {
            self.set_interrupt_line(at, gsi);
        }
        if assigned {
            // It fitted the first time; after a hot-plug too much, the guest finds regions unassigned.
            let _ = self.assign_bars();
        }
    }

    pub(crate) fn save(&self) -> Vec<(u8, DeviceState)> {
        let saved = self.functions().into_iter();
        saved
            .map(|(at, function)| (at.byte(), lock(&function).save()))
            .collect()
    }

    /// Restores all functions, or none. Those that may go, and that the saved bus had no more, go.
    pub(crate) fn restore(&self, states: &[(u8, DeviceState)]) -> Result<(), RestoreError> {
        let saved: BTreeSet<u8> = states.iter().map(|(at, _)| *at).collect();
        let all = self.functions().into_iter();
        let (functions, gone): (Vec<_>, Vec<_>) = all.partition(|(at, _)| {
            saved.contains(&at.byte()) || self.find_removable(*at) != Some(true)
        });
        let slots = states.iter().map(|(at, _)| *at);
        if !slots.eq(functions.iter().map(|(at, _)| at.byte())) {
            return Err(RestoreError::Damaged {
                kind: "pci-root".into(),
                what: "other slots are occupied".into(),
            });
        }
        let before = self.save();
        let mut failed = None;
        for ((_, function), (_, state)) in functions.iter().zip(states) {
            if let Err(error) = lock(function).restore(state) {
                failed = Some(error);
                break;
            }
        }
        if failed.is_some() {
            for ((_, function), (_, state)) in functions.iter().zip(&before) {
                // What a function saved a moment ago it takes back.
                let _ = lock(function).restore(state);
                lock(function).resume();
            }
        }
        for (at, function) in &functions {
            let guard = lock(function);
            let mappings = guard.config().mappings();
            self.bus_mut().set_routes(*at, mappings);
        }
        if failed.is_none() {
            for (at, _) in gone {
                self.remove(at);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn find(&self, bus: u8, at: DeviceFunction) -> Option<SharedFunction> {
        if bus != 0 {
            return None;
        }
        let bus = self.bus.read().unwrap_or_else(PoisonError::into_inner);
        bus.functions.get(&at).cloned()
    }

    fn functions(&self) -> Vec<(DeviceFunction, SharedFunction)> {
        let bus = self.bus.read().unwrap_or_else(PoisonError::into_inner);
        let all = bus.functions.iter();
        all.map(|(at, function)| (*at, Arc::clone(function)))
            .collect()
    }

    fn bus_mut(&self) -> std::sync::RwLockWriteGuard<'_, Bus> {
        self.bus.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus {
    fn set_routes(&mut self, owner: DeviceFunction, mappings: Vec<BarMapping>) {
        self.place_memories(owner, &mappings);
        self.routes.retain(|route| route.owner != owner);
        let new = mappings.into_iter();
        self.routes
            .extend(new.map(|mapping| Route { owner, mapping }));
    }
}

impl Bus {
    /// RAM lies where its region does; not outside of the windows, where a register may point while it is
    /// sized and where the machine has things of its own.
    fn place_memories(&self, owner: DeviceFunction, mappings: &[BarMapping]) {
        let inside = |mapping: &&BarMapping| {
            let end = mapping.base.saturating_add(mapping.len);
            let windows = self.windows.iter();
            let mut windows = windows.flat_map(|it| {
                [Some(&it.memory32), it.memory64.as_ref()]
                    .into_iter()
                    .flatten()
            });
            windows.any(|window| window.start <= mapping.base && end <= window.end)
        };
        for ((at, bar), memory) in &self.memories {
            if *at == owner {
                let mut own = mappings.iter();
                let mapping = own.find(|it| it.bar == *bar && it.space == Space::Memory);
                memory.place(mapping.filter(inside).map(|it| Gpa(it.base)));
            }
        }
    }
}

fn lock(function: &SharedFunction) -> MutexGuard<'_, dyn PciFunction + 'static> {
    function.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
