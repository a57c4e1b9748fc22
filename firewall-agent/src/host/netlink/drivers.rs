//! Support of native XDP by the drivers, from the generic netlink family `netdev` (Linux 6.3).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use netlink_packet_core::parse_u32;
use netlink_sys::protocols::NETLINK_GENERIC;

use super::link::attributes;
use super::request::{Message, dump, get};

/// `struct genlmsghdr`, in bytes.
const GENERIC_HEADER: usize = 4;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

// Of <linux/netdev.h>.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_BASIC: u64 = 1;

/// Returns for each interface index of this namespace whether its driver runs XDP programs; empty on kernels that do not
/// tell.
///
/// # Errors
/// When the kernel refuses, or an answer is malformed.
pub(super) fn native_support() -> Result<BTreeMap<u32, bool>> {
    let name = b"netdev\0";
    let length = u16::try_from(4 + name.len())?;
    let mut body = generic_header(u8::try_from(libc::CTRL_CMD_GETFAMILY)?);
    body.extend([length.to_ne_bytes(), CTRL_ATTR_FAMILY_NAME.to_ne_bytes()].concat());
    body.extend(name);
    body.resize(body.len().next_multiple_of(4), 0);
    let kind = u16::try_from(libc::GENL_ID_CTRL)?;
    let Some(family) = get(NETLINK_GENERIC, Message { kind, body }, libc::ENOENT)? else {
        return Ok(BTreeMap::new());
    };
    let list = attributes(family.body.get(GENERIC_HEADER..).context("short answer")?)?;
    let id = list.iter().find(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID);
    let id =
        id.and_then(|id| Some(u16::from_ne_bytes(*id.value().first_chunk()?))).context("no family id")?;
    let every = dump(NETLINK_GENERIC, Message { kind: id, body: generic_header(NETDEV_CMD_DEV_GET) })?;
    every.iter().map(|message| native(&message.body)).collect()
}

fn generic_header(command: u8) -> Vec<u8> {
    vec![command, 1, 0, 0]
}

/// Index of an interface, and whether its driver runs XDP programs.
fn native(body: &[u8]) -> Result<(u32, bool)> {
    let list = attributes(body.get(GENERIC_HEADER..).context("short answer")?)?;
    let find = |number| list.iter().find(|attribute| attribute.kind() == number);
    let index = parse_u32(find(NETDEV_A_DEV_IFINDEX).context("no index")?.value())?;
    let features = find(NETDEV_A_DEV_XDP_FEATURES)
        .and_then(|features| Some(u64::from_ne_bytes(*features.value().first_chunk()?)));
    Ok((index, features.unwrap_or_default() & NETDEV_XDP_ACT_BASIC != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_a_driver_are_parsed() {
        let message = |features: u64| {
            let index = [[8, 0, 1, 0], 3_u32.to_ne_bytes()].concat();
            let attribute = [&[12, 0, 3, 0][..], &features.to_ne_bytes()].concat();
            [generic_header(NETDEV_CMD_DEV_GET), index, attribute].concat()
        };
        for (features, expected) in [(0, false), (0x23, true), (0x22, false)] {
            assert_eq!(native(&message(features)).unwrap(), (3, expected), "{features}");
        }
        assert!(native(&[1, 1, 0]).is_err() && native(&generic_header(1)).is_err());
    }

    #[test]
    fn the_kernels_drivers_are_read() {
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let found = native_support().unwrap();
        assert!(found.is_empty() || found.get(&lo) == Some(&false), "{found:?}");
    }
}
