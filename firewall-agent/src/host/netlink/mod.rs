//! Facts and events of the kernel's network configuration, by netlink.

mod attach_refusal;
mod drivers;
mod interface_table;
mod interfaces;
mod link;
mod link_events;
mod peer_route;
mod request;
mod routes;
mod tc;
mod tcp_sockets;
mod xfrm;

pub use self::attach_refusal::attach_refusal;
pub use self::interface_table::{Attached, InterfaceTable, XdpState, xdp_state};
pub use self::interfaces::interfaces;
pub use self::link_events::LinkEvents;
pub use self::peer_route::interface_to;
pub(in crate::host) use self::request::{Message, dump};
pub use self::routes::routes;
pub use self::tc::filters;
pub use self::tcp_sockets::{SocketReset, TcpSocket, each_listener, each_session};
pub use self::xfrm::ipsec;
