//! Base chains: the packets that their rules see.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::attributes::Attributes;
use super::{NFGENMSG, query};

const NFT_MSG_GETCHAIN: u16 = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_DEV: u16 = 3;
const NFTA_HOOK_DEVS: u16 = 4;
const NFTA_DEVICE_NAME: u16 = 1;

/// Hooks of IP and bridge families for what the host sends, and of the family `netdev`.
const OUTGOING: [u32; 2] = [3, 4];
const NETDEV_EGRESS: u32 = 1;

/// Place of a base chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hook {
    /// Its packets are those that the host sends.
    pub outgoing: bool,
    /// Names of the interfaces to which it is bound.
    pub devices: Vec<String>,
}

/// The hooks of base chains, by family, table and name.
#[derive(Debug, Default)]
pub(super) struct Chains(BTreeMap<(u8, String, String), Hook>);

impl Chains {
    /// # Errors
    /// When the kernel refuses, or the reply is malformed.
    pub fn read() -> Result<Self> {
        let mut chains = Self::default();
        for message in query(NFT_MSG_GETCHAIN)? {
            chains.insert(&message.body)?;
        }
        Ok(chains)
    }

    /// The hook of a base chain; `None` for a chain that other chains jump to.
    pub fn hook(&self, family: u8, table: &str, chain: &str) -> Option<&Hook> {
        self.0.get(&(family, table.to_owned(), chain.to_owned()))
    }

    fn insert(&mut self, body: &[u8]) -> Result<()> {
        let (head, rest) = body.split_first_chunk::<NFGENMSG>().context("short answer")?;
        let chain = Attributes::new(rest);
        if chain.get(NFTA_CHAIN_HOOK)?.is_none() {
            return Ok(());
        }
        let hook = chain.inside(NFTA_CHAIN_HOOK)?;
        let number = hook.wire_number(NFTA_HOOK_HOOKNUM)?.unwrap_or_default();
        let outgoing = if i32::from(head[0]) == libc::NFPROTO_NETDEV {
            number == NETDEV_EGRESS
        } else {
            OUTGOING.contains(&number)
        };
        let mut devices: Vec<String> = hook.text(NFTA_HOOK_DEV)?.into_iter().collect();
        for name in hook.inside(NFTA_HOOK_DEVS)?.texts(NFTA_DEVICE_NAME)? {
            if !devices.contains(&name) {
                devices.push(name);
            }
        }
        let text = |number| chain.text(number).map(Option::unwrap_or_default);
        let key = (head[0], text(NFTA_CHAIN_TABLE)?, text(NFTA_CHAIN_NAME)?);
        self.0.insert(key, Hook { outgoing, devices });
        Ok(())
    }
}
