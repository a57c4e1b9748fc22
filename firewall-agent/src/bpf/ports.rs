//! Claimed and guarded ports; packets to all other ports pass.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::maps::{Array, IterableMap as _, Map, MapData};
use firewall_common::{PORT_WORDS, PortWord, names};

use super::{pins::Pins, plain::Plain, shape, syscall};
use crate::sync::Ports;

pub(super) struct PortFilter {
    words: Array<MapData, Plain<PortWord>>,
}

impl PortFilter {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self { words: Array::try_from(Map::Array(shape::open(pins, names::PORTS)?))? })
    }

    /// Kernel id of the map.
    pub fn map_id(&self) -> Result<u32> {
        Ok(self.words.map().info()?.id())
    }

    /// The claimed and the guarded ports.
    pub fn read(&self) -> Result<(Ports, Ports)> {
        let (mut claimed, mut guarded) = (Ports::new(), Ports::new());
        // In one call, since every drift check reads them.
        let words = syscall::read_map::<u32, PortWord>(self.words.map().fd().as_fd(), PORT_WORDS as usize);
        for (number, word) in words.context("ports: cannot be read")? {
            let number = usize::try_from(number)?;
            claimed.insert_word(number, word.claimed);
            guarded.insert_word(number, word.guarded);
        }
        Ok((claimed, guarded))
    }

    /// Writes the words that differ. Each port has its own bit: a packet in between sees each port's old or new state.
    pub fn write(&mut self, claimed: &Ports, guarded: &Ports) -> Result<()> {
        let words = claimed.words().iter().zip(guarded.words());
        for (number, (claimed, guarded)) in (0..PORT_WORDS).zip(words) {
            let word = PortWord { claimed: *claimed, guarded: *guarded };
            let Plain(now) = self.words.get(&number, 0).context("ports: cannot be read")?;
            if now != word {
                self.words.set(number, Plain(word), 0).context("ports: cannot be written")?;
            }
        }
        Ok(())
    }
}
