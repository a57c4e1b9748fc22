//! Names of the links' pins: those of the interfaces, wherever these go.

/// Start of the pin names of links whose interface is in another network namespace. No interface has a colon in its name.
const ELSEWHERE: &str = ":elsewhere-";

/// The name of a link's pin while its interface is in another network namespace.
pub(super) fn elsewhere(link: u32) -> String {
    format!("{ELSEWHERE}{link}")
}

/// The name of the pin of an interface's link: bpffs refuses dots, and interface names cannot have colons.
pub(super) fn pin_name(interface: &str) -> String {
    interface.replace('.', ":")
}

/// The interface that a pin's name stands for.
pub(super) fn interface_name(pin: &str) -> String {
    pin.replace(':', ".")
}
