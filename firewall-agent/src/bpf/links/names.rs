//! What the pins of links are called: by the interfaces, wherever those go.

use std::path::Path;

use anyhow::Result;
use nix::net::if_::if_indextoname;

use super::{pinned, pinned_links};
use crate::bpf::{
    interface::xdp_state,
    pins::{Pins, rename, unpin},
    syscall::LinkInfo,
};

/// Gives the pins of renamed interfaces their new names, removes those of interfaces that are gone, and puts those of
/// interfaces that were moved to another network namespace aside: they are filtered there.
pub(in crate::bpf) fn follow_names(pins: &Pins) -> Result<()> {
    let mut moved = Vec::new();
    for (path, info) in pinned_links(pins)? {
        if info.interface == 0 {
            unpin(&path)?;
            continue;
        }
        let now = pins.link(&pin_name_of(info)?);
        if now != path {
            // Two interfaces may have changed names: nothing may take a pin's place before that has left it.
            let aside = pins.link(&elsewhere(info));
            rename(&path, &aside)?;
            moved.push((aside, now));
        }
    }
    for (aside, now) in moved {
        // Where another link stands, this one is of an interface elsewhere that has the same number.
        if pinned(&now)?.is_none() {
            rename(&aside, &now)?;
        }
    }
    Ok(())
}

/// The name that a link's pin should have: its interface's, if that is in this network namespace and runs the link's
/// program. Interface indexes are each namespace's own, so the index alone says little.
pub(in crate::bpf) fn pin_name_of(info: LinkInfo) -> Result<String> {
    if let Ok(name) = if_indextoname(info.interface) {
        let name = name.to_string_lossy();
        let runs = xdp_state(&name)?.and_then(|state| state.program).map(|(_, program)| program);
        if runs == Some(info.program) {
            return Ok(pin_name(&name));
        }
    }
    Ok(elsewhere(info))
}

/// No interface has a colon in its name.
pub(in crate::bpf) fn elsewhere(info: LinkInfo) -> String {
    format!(":elsewhere-{}", info.id)
}

/// bpffs refuses dots in names, and interface names cannot have colons.
pub(in crate::bpf) fn pin_name(interface: &str) -> String {
    interface.replace('.', ":")
}

pub(in crate::bpf) fn interface_name(pin: &Path) -> String {
    pin.file_name().map(|name| name.to_string_lossy().replace(':', ".")).unwrap_or_default()
}
