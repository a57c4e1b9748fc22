//! Names of this network namespace's interfaces, by index.

use super::netlink::InterfaceTable;

/// The interfaces at one moment; none when they cannot be listed.
#[derive(Debug)]
pub struct InterfaceNames(Option<InterfaceTable>);

impl InterfaceNames {
    #[must_use]
    pub fn read() -> Self {
        Self(InterfaceTable::list().ok())
    }

    /// The name of an index, if there is such an interface.
    #[must_use]
    pub fn known(&self, index: u32) -> Option<&str> {
        self.0.as_ref().and_then(|interfaces| interfaces.name(index))
    }

    /// The name of an index; `index N` without such an interface, `-` for 0.
    #[must_use]
    pub fn name(&self, index: u32) -> String {
        match (index, self.known(index)) {
            (0, _) => "-".to_owned(),
            (_, Some(name)) => name.to_owned(),
            (_, None) => format!("index {index}"),
        }
    }
}
