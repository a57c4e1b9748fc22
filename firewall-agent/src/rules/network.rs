//! Parsers of networks and addresses. Errors give the reason without repeating the text.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::parser::{Item, Report};

/// Parses a source network and clears its host bits. Warns of these, and of a network that covers every address.
pub(super) fn read_cidr(item: &Item<'_, '_>, report: &mut Report) -> Option<IpNet> {
    let typed = item.text(report, cidr)?;
    let net = typed.trunc();
    if net != typed {
        item.warn(report, &format!("has host bits set, applied as {net}"));
    }
    if net.prefix_len() == 0 {
        item.warn(report, "allows every address, effectively disables filtering");
    }
    Some(net)
}

/// Parses a source network, host bits included.
fn cidr(text: &str) -> Result<IpNet, String> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match address(text) {
            Ok(ip) => format!("needs a prefix length, as in {ip}/{}", if ip.is_ipv4() { 32 } else { 128 }),
            Err(reason) => reason,
        });
    };
    let ip = self::address(address)?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let digits = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let length = digits.then(|| length.parse().ok()).flatten();
    length
        .and_then(|length| IpNet::new(ip, length).ok())
        .ok_or_else(|| format!("prefix length must be a number from 0 to {longest} in plain decimal digits"))
}

/// Parses the address of an endpoint: one that a single host can have.
pub(super) fn endpoint_address(text: &str) -> Result<IpAddr, String> {
    if text.contains('/') {
        return Err("must be a single address, without a prefix length".to_owned());
    }
    let ip = address(text)?;
    if ip.is_unspecified() {
        Err("is the unspecified address: leave `address` out to claim every address".to_owned())
    } else if ip.is_multicast() {
        Err("is a multicast address".to_owned())
    } else if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Err("is the broadcast address".to_owned())
    } else {
        Ok(ip)
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    match text.parse() {
        Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(v4) => Err(format!("is an IPv4-mapped IPv6 address: write it as {v4}")),
            None => Ok(IpAddr::V6(ip)),
        },
        Ok(IpAddr::V4(ip)) => Ok(IpAddr::V4(ip)),
        Err(_) if has_leading_zero(text) => {
            Err("octet with a leading zero: could be meant as octal".to_owned())
        }
        Err(_) => Err("is not an IPv4 or IPv6 address".to_owned()),
    }
}

fn has_leading_zero(text: &str) -> bool {
    let octets: Vec<&str> = text.split('.').collect();
    let numeric = octets.iter().all(|octet| !octet.is_empty() && octet.bytes().all(|b| b.is_ascii_digit()));
    octets.len() == 4 && numeric && octets.iter().any(|octet| octet.len() > 1 && octet.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cidr_is_an_address_and_a_prefix_length() {
        for text in [
            "0.0.0.0/0",
            "203.0.113.0/24",
            "192.168.0.1/24",
            "1.2.3.4/32",
            "::/0",
            "2001:db8::/32",
            "::1/128",
        ] {
            assert_eq!(cidr(text).map(|net| net.to_string()), Ok(text.to_owned()));
        }
        for (text, reason) in [
            ("", "is not an IPv4 or IPv6 address"),
            ("1.2.3.4", "needs a prefix length, as in 1.2.3.4/32"),
            ("2001:db8::1", "needs a prefix length, as in 2001:db8::1/128"),
            ("1.2.3/24", "is not an IPv4 or IPv6 address"),
            ("1.2.3.256/32", "is not an IPv4 or IPv6 address"),
            (" 1.2.3.4/32", "is not an IPv4 or IPv6 address"),
            ("fe80::1%eth0/64", "is not an IPv4 or IPv6 address"),
            ("1.2.03.4/32", "octet with a leading zero: could be meant as octal"),
            ("1.2.03.4", "octet with a leading zero: could be meant as octal"),
            ("::ffff:1.2.3.4/128", "is an IPv4-mapped IPv6 address: write it as 1.2.3.4"),
            ("1.2.3.4/33", "prefix length must be a number from 0 to 32 in plain decimal digits"),
            ("::1/129", "prefix length must be a number from 0 to 128 in plain decimal digits"),
            ("1.2.3.4/", "prefix length must be a number from 0 to 32 in plain decimal digits"),
            ("1.2.3.4/08", "prefix length must be a number from 0 to 32 in plain decimal digits"),
            ("1.2.3.4/+8", "prefix length must be a number from 0 to 32 in plain decimal digits"),
            ("1.2.3.4/-1", "prefix length must be a number from 0 to 32 in plain decimal digits"),
            ("1.2.3.4/24/24", "prefix length must be a number from 0 to 32 in plain decimal digits"),
            ("1.2.3.4/255.255.255.0", "prefix length must be a number from 0 to 32 in plain decimal digits"),
        ] {
            assert_eq!(cidr(text), Err(reason.to_owned()), "{text:?}");
        }
    }
}
