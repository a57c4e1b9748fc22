//! `firewall-agent prepare`: directories for an agent that does not run as root.

use std::fs::{self, Permissions};
use std::io::Write;
use std::num::ParseIntError;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result};

use super::Exit;
use super::settings::Located;
use crate::bpf::Pins;
use crate::files::dirs::{PRIVATE, make_dir};

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
            part.parse().map_err(|error: ParseIntError| format!("{part:?} is no number: {error}"))
        };
        Ok(Self { user: number(user)?, group: number(group)? })
    }
}

pub(super) fn prepare(directories: &Located, owner: Owner, out: &mut impl Write) -> Result<Exit> {
    let Located { bpffs_dir, state_dir } = directories;
    Pins::new(bpffs_dir).create_root()?;
    make_dir(state_dir, PRIVATE).with_context(|| format!("cannot create {}", state_dir.display()))?;
    for dir in [bpffs_dir, state_dir] {
        give(dir, owner)?;
        writeln!(out, "{} belongs to {}:{}", dir.display(), owner.user, owner.group)?;
    }
    Ok(Exit::Done)
}

/// Gives a directory, without its contents, to `owner` alone.
fn give(dir: &Path, owner: Owner) -> Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(PRIVATE))
        .with_context(|| format!("cannot chmod {}", dir.display()))?;
    chown(dir, Some(owner.user), Some(owner.group)).with_context(|| format!("cannot chown {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_two_numbers() {
        assert_eq!("65532:7".parse(), Ok(Owner { user: 65532, group: 7 }));
        for text in ["65532", "a:1", "1:", ":1", "-1:1", "1:4294967296"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }
}
