//! Link-layer tricks: VLAN tags, padding, unusual addresses.

use super::Promise::{MayDrop, MustPass};
use super::gather::Gatherer;
use crate::packets::protocol;

const PRIORITY_ONLY: u16 = 0xf000;

pub(super) fn add(gatherer: &mut Gatherer<'_>) {
    gatherer.link(MustPass, "plain", |frame| frame);
    gatherer.link(MustPass, "802.1Q VLAN 0", |frame| frame.vlan(0));
    gatherer.link(MustPass, "802.1Q VLAN 0 with priority and drop bit", |frame| frame.vlan(PRIORITY_ONLY));
    gatherer.link(MustPass, "802.1ad VLAN 0", |frame| frame.service_vlan(0));
    gatherer.link(MustPass, "802.1Q in 802.1Q", |frame| frame.vlan(0).vlan(0));
    gatherer.link(MustPass, "802.1Q in 802.1ad", |frame| frame.service_vlan(0).vlan(0));
    gatherer.link(MustPass, "802.1ad in 802.1Q", |frame| frame.vlan(0).service_vlan(0));
    gatherer.link(MustPass, "802.1ad in 802.1ad", |frame| frame.service_vlan(0).service_vlan(0));
    gatherer.link(MustPass, "three mixed tags", |frame| frame.vlan(0).service_vlan(0).vlan(PRIORITY_ONLY));
    gatherer.link(MustPass, "four mixed tags", |frame| {
        frame.service_vlan(0).vlan(0).service_vlan(0).vlan(PRIORITY_ONLY)
    });
    for tags in [5, 6, 8, 16, 64] {
        gatherer
            .link(MayDrop, &format!("{tags} tags"), |frame| (0..tags).fold(frame, |frame, _| frame.vlan(0)));
    }
    gatherer.link(MustPass, "padding of zeros", |frame| frame.trailer([0; 46]));
    gatherer.link(MustPass, "trailing garbage", |frame| frame.trailer([0xa5; 300]));
    gatherer
        .link(MustPass, "trailer with the ports of another packet", |frame| frame.trailer([0, 80, 0, 80]));
    gatherer.link(MustPass, "source address of zeros", |frame| frame.from([0; 6]));
    gatherer.link(MustPass, "source address of a group", |frame| frame.from([1, 0, 0x5e, 0, 0, 1]));
    let to_all = [0xff; 6];
    gatherer.link_with(MustPass, "to the broadcast address", protocol::UDP, |frame| frame.to(to_all));
    let to_group = [1, 0, 0x5e, 0, 0, 1];
    gatherer.link_with(MustPass, "to the address of a group", protocol::UDP, |frame| frame.to(to_group));
}
