//! A card on the PCI bus: an adapter with its thread.

use std::sync::Arc;

use memory::GuestMemory;
use netio::Link;
use serde::{Deserialize, Serialize};

use super::serving::{HOLD_NO_MASTER, HOLD_PAUSED, Serving};
use super::{Adapter, Mac};
use crate::pci::{
    COMMAND_BUS_MASTER, ConfigSpace, ConfigState, EXPANSION_ROM, OptionRom, PciFunction,
};
use crate::virtio::net::Gates;
use crate::{DeviceState, Line, RestoreError, decode_state, encode_state};

/// What a card is made with.
#[derive(Debug)]
pub struct CardOptions {
    pub mac: Mac,
    pub link: Box<dyn Link>,
    /// What passes it, in each direction.
    pub gates: Gates,
    /// What firmware boots from the network by.
    pub rom: OptionRom,
}

#[derive(Serialize, Deserialize)]
struct CardState<S> {
    config: ConfigState,
    adapter: S,
}

/// See [`super`]. Made by [`super::E1000::card`] and its like.
#[derive(Debug)]
pub struct EthernetCard<A> {
    config: ConfigSpace,
    rom: OptionRom,
    serving: Serving<A>,
}

#[allow(
    private_bounds,
    reason = "which adapters there are is this module's to say"
)]
impl<A: Adapter> EthernetCard<A> {
    /// `line` is its interrupt pin.
    ///
    /// # Errors
    /// When the host has no descriptors left.
    pub fn new(
        options: CardOptions,
        memory: GuestMemory,
        line: Arc<dyn Line>,
    ) -> std::io::Result<EthernetCard<A>> {
        let CardOptions {
            mac,
            link,
            gates,
            rom,
        } = options;
        let config = rom.declare(A::configuration()).with_interrupt_pin(1);
        Ok(EthernetCard {
            config,
            rom,
            serving: Serving::new(A::new(mac), link, gates, memory, line)?,
        })
    }

    /// Takes over what changed in the configuration space.
    fn follow_config(&mut self) {
        let command = self.config.command();
        self.serving.pin().follow(command);
        if command & COMMAND_BUS_MASTER == 0 {
            self.serving.hold(HOLD_NO_MASTER);
        } else {
            self.serving.release(HOLD_NO_MASTER);
        }
    }
}

impl<A: Adapter> PciFunction for EthernetCard<A> {
    fn kind(&self) -> &'static str {
        A::KIND
    }

    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_read(&mut self, offset: u16, size: u8) -> u32 {
        self.config.read(offset, size) | self.serving.pin().status(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.config.write(offset, size, value);
        self.follow_config();
    }

    fn bar_read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if bar == EXPANSION_ROM {
            return self.rom.read(offset, size);
        }
        self.serving
            .with(|adapter| (adapter.read(bar, offset, size), false))
    }

    fn bar_write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        self.serving
            .with(|adapter| ((), adapter.write(bar, offset, size, value)));
    }

    fn reset(&mut self) {
        self.config.reset();
        self.follow_config();
        self.serving.with(|adapter| (adapter.reset(), false));
    }

    fn save(&self) -> DeviceState {
        let adapter = self.serving.with(|adapter| (adapter.save(), false));
        let state = CardState {
            config: self.config.save(),
            adapter,
        };
        encode_state(A::KIND, A::VERSION, &state)
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), RestoreError> {
        let state: CardState<A::State> = decode_state(A::KIND, A::VERSION, state)?;
        let damaged = |what: String| RestoreError::Damaged {
            kind: A::KIND.into(),
            what,
        };
        let mut config = self.config.clone();
        config.restore(&state.config).map_err(damaged)?;
        self.serving.hold(HOLD_PAUSED);
        let restored = self
            .serving
            .with(|adapter| (adapter.restore(state.adapter), false));
        restored.map_err(damaged)?;
        self.config = config;
        self.follow_config();
        Ok(())
    }

    fn quiesce(&mut self) {
        self.serving.hold(HOLD_PAUSED);
    }

    fn resume(&mut self) {
        self.serving.release(HOLD_PAUSED);
    }
}
