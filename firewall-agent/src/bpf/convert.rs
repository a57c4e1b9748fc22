//! Human ⇄ kernel: the only conversion between domain values and map keys and values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use firewall_common::{
    ADDRESS_INDEX, ANY_FAMILY, Address, CLASS_NONE, CLASS_SYN, CLASS_TCP, CLASS_UDP, COUNTER_BLOCKED_RANGE,
    COUNTER_CUSTOM, COUNTER_DEFAULT, COUNTER_INTERNAL, COUNTER_LOCAL_ALLOW, COUNTER_LOCAL_BLOCK,
    COUNTER_MANAGED, COUNTER_PREFIX, Denial, ENFORCE, Endpoint, EndpointKey, FILTER_BITS, FILTER_LENGTH,
    HOST_ROW, IPV4, IPV6, MONITOR, NO_RULE, Reason, RuleRecord, TOMBSTONE, filter_bit_v4, filter_bit_v6,
};
use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    denials::{Class, DeniedFlow, Hook},
    source_prefilters::bits_touched,
};
use crate::{
    rules::{Mode, Protocol},
    sync::{CounterId, CounterKind, DatabaseSlot, Destination, RuleCounter, TableEntry},
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A map key or value of firewall-common as plain bytes, the form in which aya copies it.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub T);

// SAFETY: both traits promise the same: every bit pattern is a value, and every byte is initialised.
unsafe impl<T: bytemuck::Pod> aya::Pod for Plain<T> {}

/// A prefix of one address family, convertible to and from a trie key.
pub(super) trait Prefix: Copy + Ord {
    /// The length in bits, then the address in network byte order.
    type Key: bytemuck::Pod;

    fn to_key(self) -> Self::Key;
    /// Fails when the length is out of bounds.
    fn from_key(key: Self::Key) -> Result<Self>;
    /// The bits of every address in the prefix, in its family's source prefilter.
    fn filter_bits(self) -> Box<dyn Iterator<Item = u32>>;
}

impl Prefix for Ipv4Net {
    type Key = [u32; 2];

    fn to_key(self) -> [u32; 2] {
        [u32::from(self.prefix_len()), u32::from_ne_bytes(self.network().octets())]
    }

    fn from_key([length, word]: [u32; 2]) -> Result<Self> {
        let address = Ipv4Addr::from(word.to_ne_bytes());
        let prefix = u8::try_from(length).ok().and_then(|length| Self::new(address, length).ok());
        prefix.with_context(|| format!("source {address}/{length}: prefix longer than 32 bits"))
    }

    fn filter_bits(self) -> Box<dyn Iterator<Item = u32>> {
        let first = filter_bit_v4(u32::from_ne_bytes(self.network().octets()));
        Box::new(first..first + bits_touched(self.prefix_len(), FILTER_LENGTH))
    }
}

/// Length of the IPv6 prefixes whose hashes have bits.
const FILTERED_IPV6: u32 = 32;

impl Prefix for Ipv6Net {
    type Key = [u32; 5];

    fn to_key(self) -> [u32; 5] {
        let [first, second, third, fourth] = words(self.network());
        [u32::from(self.prefix_len()), first, second, third, fourth]
    }

    fn from_key([length, first, second, third, fourth]: [u32; 5]) -> Result<Self> {
        let address = v6([first, second, third, fourth]);
        let prefix = u8::try_from(length).ok().and_then(|length| Self::new(address, length).ok());
        prefix.with_context(|| format!("source {address}/{length}: prefix longer than 128 bits"))
    }

    fn filter_bits(self) -> Box<dyn Iterator<Item = u32>> {
        let [first, ..] = words(self.network());
        // A shorter prefix contains more /32s than there are bits.
        if u32::from(self.prefix_len()) < FILTERED_IPV6 - FILTER_LENGTH {
            return Box::new(0..FILTER_BITS);
        }
        let first = u32::from_be(first);
        let networks = first..=first + (bits_touched(self.prefix_len(), FILTERED_IPV6) - 1);
        Box::new(networks.map(|network| filter_bit_v6(network.to_be())))
    }
}

pub(super) fn destination_to_key(destination: &Destination) -> EndpointKey {
    let (address, family) = address_to_key(destination.address);
    let protocol = match destination.protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    EndpointKey { address, port: destination.port.to_be(), protocol, family }
}

/// The key of a row of the address index; `row` counts from 0.
pub(super) fn member_to_key(address: Option<IpAddr>, row: u16) -> EndpointKey {
    let (address, family) = address_to_key(address);
    EndpointKey { address, port: row, protocol: ADDRESS_INDEX, family }
}

/// The kinds of rows of the endpoint table.
pub(super) enum Row {
    Endpoint(Destination),
    /// A row of the index of an address, or (`None`) of the wildcard.
    Member(Option<IpAddr>),
    /// A row of the host index.
    Host,
}

pub(super) fn row_from_key(key: &EndpointKey) -> Result<Row> {
    let address = address_from_key(key.address, key.family)?;
    let protocol = match key.protocol {
        ADDRESS_INDEX => return Ok(Row::Member(address)),
        HOST_ROW => return Ok(Row::Host),
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        other => bail!("protocol {other}: must be 0, 6, 17 or 255"),
    };
    Ok(Row::Endpoint(Destination { address, port: u16::from_be(key.port), protocol }))
}

pub(super) fn entry_to_value(claim: &TableEntry) -> Endpoint {
    match *claim {
        TableEntry::Open { slot, mode, default_counter } => {
            Endpoint { slot: slot.0, mode: mode_to_value(mode), default_counter: default_counter.0 }
        }
        TableEntry::Tombstone => Endpoint { slot: 0, mode: TOMBSTONE, default_counter: NO_RULE },
    }
}

pub(super) fn entry_from_value(value: &Endpoint) -> Result<TableEntry> {
    let mode = match value.mode {
        ENFORCE => Mode::Enforce,
        MONITOR => Mode::Monitor,
        TOMBSTONE => return Ok(TableEntry::Tombstone),
        other => bail!("mode {other}: must be 0, 1 or 2"),
    };
    let (slot, default_counter) = (DatabaseSlot(value.slot), CounterId(value.default_counter));
    Ok(TableEntry::Open { slot, mode, default_counter })
}

pub(super) fn counter_to_record(counter: &RuleCounter) -> RuleRecord {
    let kind = match &counter.kind {
        CounterKind::Default => COUNTER_DEFAULT,
        CounterKind::Custom => COUNTER_CUSTOM,
        CounterKind::Managed(_) => COUNTER_MANAGED,
        CounterKind::Internal => COUNTER_INTERNAL,
        CounterKind::Prefix(_) => COUNTER_PREFIX,
        CounterKind::BlockedRange => COUNTER_BLOCKED_RANGE,
        CounterKind::LocalBlock => COUNTER_LOCAL_BLOCK,
        CounterKind::LocalAllow => COUNTER_LOCAL_ALLOW,
    };
    RuleRecord {
        database: counter.database.0,
        kind,
        id: text_to_bytes(&counter.id),
        range: text_to_bytes(counter.kind.range().unwrap_or("")),
        label: text_to_bytes_cut(&counter.label),
    }
}

pub(super) fn counter_from_record(record: &RuleRecord) -> Result<RuleCounter> {
    let kind = match record.kind {
        COUNTER_DEFAULT => CounterKind::Default,
        COUNTER_CUSTOM => CounterKind::Custom,
        COUNTER_MANAGED => CounterKind::Managed(text_from_bytes(&record.range).context("range")?),
        COUNTER_PREFIX => CounterKind::Prefix(text_from_bytes(&record.range).context("range")?),
        COUNTER_INTERNAL => CounterKind::Internal,
        COUNTER_BLOCKED_RANGE => CounterKind::BlockedRange,
        COUNTER_LOCAL_BLOCK => CounterKind::LocalBlock,
        COUNTER_LOCAL_ALLOW => CounterKind::LocalAllow,
        other => bail!("kind {other}: must be from 0 to 7"),
    };
    Ok(RuleCounter {
        database: DatabaseSlot(record.database),
        kind,
        id: text_from_bytes(&record.id).context("id")?,
        label: text_from_bytes(&record.label).context("label")?,
    })
}

pub(super) fn flow_from_key(key: &Denial, hook: Hook) -> Result<DeniedFlow> {
    let protocol = match key.protocol {
        0 => None,
        TCP => Some(Protocol::Tcp),
        UDP => Some(Protocol::Udp),
        other => bail!("protocol {other}: must be 0, 6 or 17"),
    };
    let class = match key.class {
        CLASS_NONE => Class::None,
        CLASS_SYN => Class::Syn,
        CLASS_TCP => Class::Tcp,
        CLASS_UDP => Class::Udp,
        other => bail!("class {other}: must be 0, 1, 2 or 3"),
    };
    let reason = Reason::ALL.get(usize::from(key.reason));
    Ok(DeniedFlow {
        source: address_from_key(key.source, key.family)?,
        destination: address_from_key(key.destination, key.family)?,
        port: u16::from_be(key.port),
        protocol,
        counter: CounterId(key.counter),
        reason: *reason.with_context(|| format!("reason {}: unknown to this version", key.reason))?,
        class,
        hook,
    })
}

/// End mark of a cut text.
const CUT: &str = "…";

/// Converts a text that may be cut: at a character boundary when longer than `N` bytes, with [`CUT`] as its end. Padded
/// with zeros.
fn text_to_bytes_cut<const N: usize>(text: &str) -> [u8; N] {
    if text.len() <= N {
        return text_to_bytes(text);
    }
    text_to_bytes(&format!("{}{CUT}", &text[..text.floor_char_boundary(N - CUT.len())]))
}

/// Converts a text that fits: names of databases have at most 1,024 bytes, identifiers and prefixes 64. Padded with
/// zeros.
pub(super) fn text_to_bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let length = text.floor_char_boundary(N);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes
}

pub(super) fn text_from_bytes(bytes: &[u8]) -> Result<String> {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..length])
        .with_context(|| format!("text {:?}: not UTF-8", bytes[..length].escape_ascii().to_string()))?;
    Ok(text.to_owned())
}

fn mode_to_value(mode: Mode) -> u32 {
    match mode {
        Mode::Enforce => ENFORCE,
        Mode::Monitor => MONITOR,
    }
}

fn address_to_key(address: Option<IpAddr>) -> (Address, u8) {
    match address {
        None => ([0; 4], ANY_FAMILY),
        Some(IpAddr::V4(address)) => ([u32::from_ne_bytes(address.octets()), 0, 0, 0], IPV4),
        Some(IpAddr::V6(address)) => (words(address), IPV6),
    }
}

/// Source and destination of a flow; `None` for an entry that nothing has used, and for any protocol but TCP and UDP.
pub(super) fn destination_of_flow(flow: &firewall_common::packet::Flow) -> Option<(IpAddr, Destination)> {
    let protocol = match flow.protocol {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        _ => return None,
    };
    let [source, destination] =
        [flow.source, flow.destination].map(|address| address_from_key(address, flow.family).ok().flatten());
    let to = Destination { address: Some(destination?), port: u16::from_be(flow.port), protocol };
    Some((source?, to))
}

fn address_from_key(address: Address, family: u8) -> Result<Option<IpAddr>> {
    Ok(match family {
        ANY_FAMILY => None,
        IPV4 => Some(IpAddr::V4(Ipv4Addr::from(address[0].to_ne_bytes()))),
        IPV6 => Some(IpAddr::V6(v6(address))),
        other => bail!("address family {other}: must be 0, 4 or 6"),
    })
}

pub(super) fn words(address: Ipv6Addr) -> Address {
    bytemuck::must_cast(address.octets())
}

pub(super) fn v6(words: Address) -> Ipv6Addr {
    Ipv6Addr::from(bytemuck::must_cast::<_, [u8; 16]>(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_truncated_at_a_character_and_names_are_not() {
        for (label, stored) in [
            ("Office network".to_owned(), "Office network".to_owned()),
            ("x".repeat(256), "x".repeat(256)),
            ("x".repeat(257), format!("{}…", "x".repeat(253))),
            ("壁".repeat(85), "壁".repeat(85)),
            ("壁".repeat(86), format!("{}…", "壁".repeat(84))),
            ("🔥".repeat(256), format!("{}…", "🔥".repeat(63))),
        ] {
            let bytes: [u8; 256] = text_to_bytes_cut(&label);
            assert_eq!(text_from_bytes(&bytes).unwrap(), stored);
        }
        // The longest name that a rule file accepts: 256 characters.
        let name = "🔥".repeat(256);
        let bytes: [u8; 1024] = text_to_bytes(&name);
        assert_eq!(text_from_bytes(&bytes).unwrap(), name);
    }
}
