//! Settings that admit packets which the programs misjudge.

use super::{Finding, Interface, Kind, Setting, SettingName};

pub(super) fn findings(interfaces: &[Interface], settings: &[Setting]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in SettingName::ALL {
        let value = |interface: &str| {
            let found = settings.iter().find(|one| one.name == name && one.interface == interface);
            found.map_or(0, |one| one.value)
        };
        let all = value("all");
        for one in interfaces.iter().filter(|one| one.up && !one.loopback) {
            let own = value(&one.name);
            // `route_localnet` needs one of the two values, the other settings need both.
            let in_force = if name == SettingName::RouteLocalnet { all.max(own) } else { all.min(own) };
            if in_force > 0 {
                let blamed = if own > 0 { &one.name } else { "all" };
                findings.push(finding(name, &one.name, blamed));
            }
        }
    }
    findings
}

fn finding(name: SettingName, interface: &str, blamed: &str) -> Finding {
    let setting = name.of(blamed);
    let (kind, meaning) = match name {
        SettingName::SourceRouteV4 | SettingName::SourceRouteV6 => (
            Kind::SourceRouting,
            "the sender may choose the route: the programs judge the address in the header, not the final \
             destination",
        ),
        SettingName::Seg6 | SettingName::Rpl => (
            Kind::SegmentRouting,
            "the sender may choose the segments: the programs judge the address in the header, and this host \
             may be the next segment",
        ),
        SettingName::RouteLocalnet => (
            Kind::RouteLocalnet,
            "packets from outside reach listeners at 127.0.0.0/8, which no endpoint covers",
        ),
    };
    let object = format!("{interface}: {setting}");
    Finding::new(kind, object, meaning.to_owned(), format!("sysctl -w {setting}=0"))
}
