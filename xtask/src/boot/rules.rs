//! The rule file of the guest's database.

use anyhow::Result;
use firewall_tests::lab::RuleFile;
use xshell::{Shell, cmd};

use super::network::{FRIEND, GUEST, PORT, STRANGER};

/// Returns a rule file of now. The allowed source's rule ends in four years; the denied source's rule has ended, and
/// comes back for an agent that believes a clock of the past.
pub fn rules(sh: &Shell) -> Result<String> {
    let time = |when: &str| cmd!(sh, "date --utc --date {when} +%Y-%m-%dT%H:%M:%SZ").read();
    let (now, past, future) = (time("now")?, time("1 day ago")?, time("4 years")?);
    let rule = |id: &str, source: &str, end: &str| {
        format!("id: {id}, type: custom_range, cidr: {source}/32, expires_at: '{end}'")
    };
    let file = RuleFile::new("6a316183d0f1f10ecbcca123", 1).generated_at(now);
    let destination = format!("{GUEST}:{PORT}");
    let file = file.endpoint(&destination).udp_endpoint(&destination);
    let file = file.rule(&rule("fr-1", FRIEND, &future)).rule(&rule("fr-2", STRANGER, &past));
    Ok(file.to_string())
}
