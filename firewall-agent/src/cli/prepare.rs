//! `firewall-agent prepare`: directories for an agent that does not run as root.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, anyhow};

use super::Exit;
use super::settings::Located;
use crate::bpf::Pins;
use crate::files::dirs::PRIVATE;

/// User and group, numeric: an image has no `/etc/passwd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    user: u32,
    group: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').ok_or("not two numbers, as 65532:65532")?;
        let number = |part: &str| {
            // chown(2) takes the highest number for "unchanged".
            let number = part.parse().ok().filter(|number| *number < u32::MAX && !part.starts_with('+'));
            number.ok_or_else(|| format!("{part:?} is not a number from 0 to {}", u32::MAX - 1))
        };
        Ok(Self { user: number(user)?, group: number(group)? })
    }
}

pub(super) fn prepare(directories: &Located, owner: Owner, out: &mut impl Write) -> Result<Exit> {
    let Located { bpffs_dir, state_dir } = directories;
    Pins::new(bpffs_dir).create_root()?;
    // Not its parents: they would be closed to the owner.
    match DirBuilder::new().mode(PRIVATE).create(state_dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot create {}", state_dir.display()));
        }
        _ => {}
    }
    for dir in [bpffs_dir, state_dir] {
        give(dir, owner)?;
        writeln!(out, "{} belongs to {}:{}", dir.display(), owner.user, owner.group)?;
    }
    Ok(Exit::Done)
}

/// Gives a directory, without its contents, to `owner` alone.
fn give(dir: &Path, owner: Owner) -> Result<()> {
    let refused = |call: &str, right: &str, error: &io::Error| -> Error {
        anyhow!("cannot {call} {}: {error}: needs root with {right}", dir.display())
    };
    fs::set_permissions(dir, Permissions::from_mode(PRIVATE))
        .map_err(|error| refused("chmod", "CAP_FOWNER", &error))?;
    chown(dir, Some(owner.user), Some(owner.group)).map_err(|error| refused("chown", "CAP_CHOWN", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_two_numbers() {
        assert_eq!("65532:7".parse(), Ok(Owner { user: 65532, group: 7 }));
        for text in ["65532", "a:1", "1:", ":1", "-1:1", "+1:1", "1:4294967295", "4294967295:1"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }
}
