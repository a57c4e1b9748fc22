//! A wall clock that a file moves, for programs that run under libfaketime.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Returns the environment, as `NAME=VALUE`, of a program whose wall clock is ahead by the seconds in the file `offset`;
/// libfaketime reads it at every call. Other clocks and the times of files stay real.
///
/// # Errors
/// When libfaketime is not installed.
pub fn wall_clock(offset: &Path) -> Result<[String; 6]> {
    let dirs = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib", "lib64"];
    let mut paths =
        dirs.map(|dir| PathBuf::from(format!("/usr/{dir}/faketime/libfaketimeMT.so.1"))).into_iter();
    let library = paths.find(|path| path.exists());
    let library = library.context("libfaketimeMT.so.1: is the package faketime installed?")?;
    Ok([
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ])
}
