//! The shipped units as they run here, and a stub of the database's unit.

use std::fs;
use std::path::Path;

/// Settings that the tests remove, each with its reason; all others stay as shipped.
const WITHOUT: [(&str, &str); 1] =
    [("OOMScoreAdjust", "a lower value takes CAP_SYS_RESOURCE, which root has not on every machine")];

pub const AGENT: &str = "firewall-agent.service";
pub const RESTORE: &str = "firewall-agent-restore.service";
/// Debian's clusters are instances of a template unit.
pub const DATABASE: &str = "postgresql@15-main.service";

pub const TARGET: &str = "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target network-pre.target\n\
                          Wants=systemd-journald.service network-pre.target postgresql@15-main.service\n";
/// Listens at every address and restarts after a crash.
pub const LISTENER: &str = "[Unit]\nDescription=Stand-in for a database\n[Service]\n\
                            ExecStart=/usr/bin/python3 -c \"import socket\\nwith socket.create_server(('', 5432)) \
                            as listener:\\n while True: listener.accept()[0].close()\"\n\
                            Restart=on-failure\nRestartSec=100ms\n";
/// Shorter than shipped, for the test's sake.
pub const WATCHDOG: &str = "[Service]\nWatchdogSec=15\n";
/// Shorter than shipped, for the test's sake.
pub const JOB_TIMEOUT: &str = "[Unit]\nJobRunningTimeoutSec=3\n";

/// Removes the settings from an installed unit.
pub fn strip(unit: &Path, settings: &[&str]) {
    let text = fs::read_to_string(unit).unwrap();
    let is_out = |line: &&str| settings.iter().any(|setting| line.starts_with(&format!("{setting}=")));
    let remaining = text.lines().filter(|line| !is_out(line));
    let remaining: String = remaining.flat_map(|line| [line, "\n"]).collect();
    fs::write(unit, remaining).unwrap();
}

/// Returns the names of the settings in [`WITHOUT`].
pub fn impossible() -> [&'static str; WITHOUT.len()] {
    WITHOUT.map(|(setting, _)| setting)
}
