//! Network settings of this namespace, below /proc/sys/net.

use std::fs;
use std::io;
use std::ops::RangeInclusive;

use crate::audit::{Ephemeral, Setting, SettingName};

const IPV4: &str = "/proc/sys/net/ipv4";

/// Reads every setting that admits packets which the programs misjudge, of `all` and of these interfaces. Omits
/// settings that the kernel lacks: they admit nothing.
///
/// # Errors
/// When a setting exists and cannot be read.
pub fn settings<'a>(interfaces: impl Iterator<Item = &'a str> + Clone) -> io::Result<Vec<Setting>> {
    let mut found = Vec::new();
    for name in SettingName::ALL {
        let (family, last) = name.parts();
        for interface in std::iter::once("all").chain(interfaces.clone()) {
            let path = format!("/proc/sys/net/{family}/conf/{interface}/{last}");
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
            };
            let value = text.trim().parse();
            let value = value.map_err(|_| io::Error::other(format!("{path}: {text:?}: not a number")))?;
            found.push(Setting { name, interface: interface.to_owned(), value });
        }
    }
    Ok(found)
}

/// Reads the ports that the host uses for its own connections, of both families.
///
/// # Errors
/// When they cannot be read.
pub fn ephemeral() -> io::Result<Ephemeral> {
    let read = |name: &str| {
        let path = format!("{IPV4}/{name}");
        fs::read_to_string(&path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
    };
    let unexpected = |text: &str| io::Error::other(format!("{text:?}: not a port range"));
    let range = read("ip_local_port_range")?;
    let reserved = read("ip_local_reserved_ports")?;
    Ok(Ephemeral {
        range: range_of(&range, char::is_whitespace).ok_or_else(|| unexpected(&range))?,
        reserved: reserved
            .trim()
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| range_of(part, |c| c == '-').ok_or_else(|| unexpected(&reserved)))
            .collect::<io::Result<_>>()?,
    })
}

/// Parses `32768 60999`, `8080-8090`, `9090`.
fn range_of(text: &str, between: fn(char) -> bool) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.trim().split_once(between).unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_the_kernel_prints_them() {
        assert_eq!(range_of("32768\t60999\n", char::is_whitespace), Some(32_768..=60_999));
        assert_eq!(range_of("8080-8090", |c| c == '-'), Some(8080..=8090));
        assert_eq!(range_of("9090", |c| c == '-'), Some(9090..=9090));
        assert_eq!(range_of("70000", |c| c == '-'), None);
        assert_eq!(range_of("", |c| c == '-'), None);
    }

    #[test]
    fn the_kernels_settings_are_read() {
        assert!(ephemeral().unwrap().range.contains(&50_000));
        let found = settings(["lo"].into_iter()).unwrap();
        assert!(found.iter().any(|one| one.name == SettingName::RouteLocalnet && one.interface == "lo"));
    }
}
