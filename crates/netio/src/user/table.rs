//! Flows of one kind: found by what the guest calls them and by number, and never more than a limit.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// Numbers a flow. It does not come back soon: what was meant for a flow that is gone is not
/// taken for its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    index: u32,
    generation: u32,
}

const GENERATIONS: u32 = 1 << 24;

impl Id {
    pub(super) fn new(index: u32, generation: u32) -> Id {
        Id {
            index,
            generation: generation % GENERATIONS,
        }
    }

    pub(super) fn index(self) -> u32 {
        self.index
    }

    pub(super) fn generation(self) -> u32 {
        self.generation
    }
}

#[derive(Debug)]
struct Slot<K, F> {
    generation: u32,
    key: K,
    flow: F,
}

#[derive(Debug)]
pub(super) struct Table<K, F> {
    numbers: HashMap<K, u32>,
    slots: Vec<Option<Slot<K, F>>>,
    free: Vec<u32>,
    generation: u32,
    limit: usize,
}

impl<K: Copy + Eq + Hash, F> Table<K, F> {
    pub(super) fn new(limit: usize) -> Table<K, F> {
        Table {
            numbers: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    pub(super) fn find(&self, key: &K) -> Option<Id> {
        let index = *self.numbers.get(key)?;
        let slot = self.slots.get(usize::try_from(index).ok()?)?.as_ref()?;
        Some(Id::new(index, slot.generation))
    }

    pub(super) fn get(&mut self, id: Id) -> Option<&mut F> {
        let slot = self.slots.get_mut(usize::try_from(id.index).ok()?)?;
        let slot = slot.as_mut()?;
        (slot.generation == id.generation).then_some(&mut slot.flow)
    }

    /// Puts a flow in that `make` makes for its number. `None` when the table is full, the key is
    /// taken or `make` answers so.
    pub(super) fn insert(&mut self, key: K, make: impl FnOnce(Id) -> Option<F>) -> Option<Id> {
        if self.is_full() || self.numbers.contains_key(&key) {
            return None;
        }
        let index = match self.free.last() {
            Some(&index) => index,
            None => u32::try_from(self.slots.len()).ok()?,
        };
        self.generation = (self.generation + 1) % GENERATIONS;
        let id = Id::new(index, self.generation);
        let flow = make(id)?;
        let slot = Some(Slot {
            generation: id.generation,
            key,
            flow,
        });
        if self.free.pop().is_some() {
            self.slots[usize::try_from(index).ok()?] = slot;
        } else {
            self.slots.push(slot);
        }
        self.numbers.insert(key, index);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<F> {
        self.get(id)?;
        let slot = self
            .slots
            .get_mut(usize::try_from(id.index).ok()?)?
            .take()?;
        self.free.push(id.index);
        self.numbers.remove(&slot.key);
        Some(slot.flow)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &mut F)> {
        (0..).zip(&mut self.slots).filter_map(|(index, slot)| {
            let slot = slot.as_mut()?;
            Some((Id::new(index, slot.generation), &mut slot.flow))
        })
    }
}

#[cfg(test)]
mod tests;
