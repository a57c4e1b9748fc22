//! Screenshots of the commands on the hosts of the demo.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::files::{APPS, DATABASE, OFFICE};
use super::hosts::Family::V4;
use super::hosts::{DemoHosts, server};
use super::svg::svg;

/// Columns and lines of the terminal.
const SIZE: (u16, u16) = (130, 40);
const SMALL: (u16, u16) = (80, 24);
/// Ends the alternate screen that `top` draws on.
const LEAVES: &[u8] = b"\x1b[?1049l";

/// Plays the first steps of the demo and draws `status`, `rules`, `explain`, `denied` and `top` into `dir`.
///
/// # Errors
/// When the hosts cannot be built, or a command shows nothing.
pub fn pictures(agent: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut hosts = DemoHosts::build(agent).context("cannot build the hosts of the demo")?;
    hosts.push(1, &[OFFICE, APPS])?;
    hosts.agent = Some(hosts.home.start()?);
    hosts.wait_for_revision(1)?;
    for _ in 0..5 {
        hosts.is_answered(&hosts.office, V4)?;
        hosts.is_answered(&hosts.app, V4)?;
        // The stranger is denied, as the picture of `denied` must show.
        let _ = hosts.stranger.connect(server(V4), Duration::from_millis(100));
    }
    for (name, arguments, size) in [
        ("status", &["status"][..], SIZE),
        ("rules", &["rules", DATABASE], SIZE),
        ("explain", &["explain", "198.51.100.7", DATABASE], SIZE),
        ("denied", &["denied"], SIZE),
        ("top", &["top"], SMALL),
    ] {
        let shown = hosts.home.show(arguments, size, true)?;
        let shown = match shown.windows(LEAVES.len()).position(|bytes| bytes == LEAVES) {
            Some(end) => &shown[..end],
            None => &shown,
        };
        let mut screen = vt100::Parser::new(size.1, size.0, 0);
        screen.process(shown);
        ensure!(!screen.screen().contents().trim().is_empty(), "{name}: shows nothing");
        let path = dir.join(format!("{name}.svg"));
        let title = format!("$ firewall-agent {}", arguments.join(" "));
        fs::write(&path, svg(&title, screen.screen())).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
