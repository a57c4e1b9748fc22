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

    /// The name of an index; `index N` without such an interface, `-` for 0.
    #[must_use]
    pub fn name(&self, index: u32) -> String {
        let name = self.0.as_ref().and_then(|interfaces| interfaces.name(index));
        match (index, name) {
            (0, _) => "-".to_owned(),
            (_, Some(name)) => name.to_owned(),
            (_, None) => format!("index {index}"),
        }
    }
}
