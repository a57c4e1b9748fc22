//! Configured ends of encapsulation: packets reach the host's sockets after a header that the programs judged.

use super::{Finding, Kind};

/// One policy, state or route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unwrapping {
    pub kind: UnwrappingKind,
    /// For people, such as `xfrm policy: in, 192.0.2.0/24 → 192.0.2.10/32`.
    pub object: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnwrappingKind {
    Ipsec,
    Seg6,
    Mpls,
}

pub(super) fn finding(one: &Unwrapping) -> Finding {
    let (kind, meaning, advice) = match one.kind {
        UnwrappingKind::Ipsec => (
            Kind::Ipsec,
            "IPsec ends here: the programs judge the encrypted packet, and the decrypted one reaches the protected ports \
             unfiltered",
            "end IPsec on another host, or block the protected ports for decrypted packets with nftables (`meta ipsec \
             exists`)",
        ),
        UnwrappingKind::Seg6 => (
            Kind::SegmentRouting,
            "segment routing ends here: the programs judge the outer address, and the next destination is reached \
             unfiltered",
            "remove the route, or end segments on another host",
        ),
        UnwrappingKind::Mpls => (
            Kind::Mpls,
            "an MPLS path ends here: the programs do not judge packets with labels, and the inner packets reach the \
             protected ports unfiltered",
            "remove the route, or end the path on another host",
        ),
    };
    Finding::new(kind, one.object.clone(), meaning.to_owned(), advice.to_owned())
}
