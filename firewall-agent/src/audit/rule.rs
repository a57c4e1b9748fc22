//! Rules of nftables, iptables and tc that change the way of a packet.

use super::Translation;
use super::masquerade::Masquerade;
use super::redirect::Redirect;

/// One rule, with the part that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    Translation(Translation),
    Masquerade(Masquerade),
    Redirect(Redirect),
}
