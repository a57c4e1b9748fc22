//! Names of the links' pins, derived from the interface names.

/// Prefix of the pin names of links on interfaces in other network namespaces. Interface names have no colon.
const ELSEWHERE: &str = ":elsewhere-";

/// The pin name of a link while its interface is in another network namespace.
pub(super) fn elsewhere(link: u32) -> String {
    format!("{ELSEWHERE}{link}")
}

/// The pin name of an interface's link: bpffs refuses dots, and interface names cannot have colons.
pub(super) fn pin_name(interface: &str) -> String {
    interface.replace('.', ":")
}

/// The interface of a pin name.
pub(super) fn interface_name(pin: &str) -> String {
    pin.replace(':', ".")
}
