//! Ethernet header and VLAN tags: the outermost layer of every frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use derive_setters::Setters;

use super::{Ipv4, Ipv6};

/// A MAC address, in wire order.
pub type Mac = [u8; 6];

/// EtherType values that the tests use.
pub mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const SERVICE_VLAN: u16 = 0x88a8;
    pub const LLDP: u16 = 0x88cc;
}

/// An Ethernet header with its tags, before its content is added.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
pub struct Ethernet {
    #[setters(rename = "to")]
    destination: Mac,
    #[setters(rename = "from")]
    source: Mac,
    #[setters(skip)]
    tags: Vec<(u16, u16)>,
    /// The innermost type field; that of the content unless set.
    ethertype: Option<u16>,
    /// Bytes after the end of the packet, as padding or garbage.
    #[setters(into)]
    trailer: Vec<u8>,
}

/// Returns a frame between two made-up, locally administered addresses.
pub fn frame() -> Ethernet {
    Ethernet::default().to([0x02, 0, 0, 0, 0, 0x01]).from([0x02, 0, 0, 0, 0, 0x02])
}

impl Ethernet {
    /// Adds an 802.1Q tag inside the existing ones; `control` contains priority, drop bit and VLAN number.
    pub fn vlan(self, control: u16) -> Self {
        self.tag(ethertype::VLAN, control)
    }

    /// Adds an 802.1ad tag inside the existing ones.
    pub fn service_vlan(self, control: u16) -> Self {
        self.tag(ethertype::SERVICE_VLAN, control)
    }

    /// Adds a tag of any type inside the existing ones.
    pub fn tag(mut self, tag_type: u16, control: u16) -> Self {
        self.tags.push((tag_type, control));
        self
    }

    pub fn ipv4(self, source: Ipv4Addr, destination: Ipv4Addr) -> Ipv4 {
        Ipv4::new(self, source, destination)
    }

    pub fn ipv6(self, source: Ipv6Addr, destination: Ipv6Addr) -> Ipv6 {
        Ipv6::new(self, source, destination)
    }

    /// Builds an ARP request for `target` from `sender`, as a whole frame.
    pub fn arp_request(self, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let (request, sender, target) = ([0, 1, 8, 0, 6, 4, 0, 1], sender.octets(), target.octets());
        let body = [&request[..], &self.source, &sender, &[0; 6], &target].concat();
        self.carrying(ethertype::ARP, &body)
    }

    /// Builds the smallest LLDP announcement, as a whole frame.
    pub fn lldp(self) -> Vec<u8> {
        let (chassis, port, lifetime) = ([0x02, 0x07, 0x04], b"\x04\x03\x07p1", [0x06, 0x02, 0, 120]);
        let body = [&chassis[..], &self.source, port, &lifetime, &[0, 0]].concat();
        self.carrying(ethertype::LLDP, &body)
    }

    /// Builds the whole frame around `content` of type `content_type`.
    pub fn carrying(&self, content_type: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        for (tag_type, control) in &self.tags {
            bytes.extend(tag_type.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        bytes.extend(self.ethertype.unwrap_or(content_type).to_be_bytes());
        bytes.extend(content);
        bytes.extend(&self.trailer);
        bytes
    }
}
