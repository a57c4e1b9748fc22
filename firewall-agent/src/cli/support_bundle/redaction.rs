//! Redaction of customers' data: addresses of sources, labels and names, and values quoted in errors.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

const REDACTED: &str = "[redacted]";
/// Fields with text of a customer or an operator.
const TEXTS: [&str; 4] = ["label", "labels", "note", DATABASE_NAME];
/// The field `name` of an object that describes a database; other objects have names of their own.
const DATABASE_NAME: &str = "database name";
/// Fields whose text quotes values of files.
const MESSAGES: [&str; 9] =
    ["error", "errors", "message", "problem", "not_ready", "was", "done", "warning", "advice"];

/// Replaces sources by pseudonyms, the same for each occurrence.
pub(super) struct Redaction<'a> {
    /// Addresses of endpoints stay.
    endpoints: &'a [String],
    pseudonyms: RefCell<BTreeMap<IpNet, usize>>,
}

impl<'a> Redaction<'a> {
    pub fn new(endpoints: &'a [String]) -> Self {
        Self { endpoints, pseudonyms: RefCell::default() }
    }

    pub fn of(&self, value: Value) -> Value {
        self.field("", value)
    }

    fn field(&self, name: &str, value: Value) -> Value {
        match value {
            Value::String(text) if text.is_empty() => Value::String(text),
            Value::String(_) if TEXTS.contains(&name) => Value::from(REDACTED),
            Value::String(text) if MESSAGES.contains(&name) => Value::from(self.text(&unquoted(&text))),
            Value::String(text) => Value::from(self.text(&text)),
            Value::Array(list) => list.into_iter().map(|inner| self.field(name, inner)).collect(),
            Value::Object(fields) => {
                let is_database = fields.contains_key("database_id");
                let fields = fields.into_iter().map(|(name, inner)| {
                    let meaning = if is_database && name == "name" { DATABASE_NAME } else { &name };
                    let inner = self.field(meaning, inner);
                    (name, inner)
                });
                Value::Object(fields.collect())
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
        }
    }

    /// Replaces every address and network in a text, except those of endpoints.
    fn text(&self, text: &str) -> String {
        let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/');
        let (mut redacted, mut rest) = (String::new(), text);
        while !rest.is_empty() {
            let (other, from) = rest.split_at(rest.find(is_part).unwrap_or(rest.len()));
            let (word, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
            redacted.push_str(other);
            redacted.push_str(&self.word(word));
            rest = after;
        }
        redacted
    }

    fn word(&self, word: &str) -> String {
        // A sentence may go on after an address: `198.51.100.7: refused`.
        let core = word.trim_end_matches(['.', ':', '/']);
        let end = &word[core.len()..];
        let (address, port) = match core.rsplit_once(':') {
            // Of an IPv4 address only: one of IPv6 stands in brackets before its port.
            Some((address, port)) if address.parse::<std::net::Ipv4Addr>().is_ok() => {
                (address, format!(":{port}"))
            }
            _ => (core, String::new()),
        };
        if self.endpoints.iter().any(|endpoint| endpoint == address) {
            return word.to_owned();
        }
        let net = address.parse::<IpNet>().or_else(|_| address.parse::<IpAddr>().map(IpNet::from));
        match net {
            Ok(net) if !net.addr().is_unspecified() => format!("{}{port}{end}", self.pseudonym(net)),
            Ok(_) | Err(_) => word.to_owned(),
        }
    }

    fn pseudonym(&self, net: IpNet) -> String {
        let mut known = self.pseudonyms.borrow_mut();
        let next = known.len() + 1;
        let number = known.entry(net).or_insert(next);
        let family = if net.addr().is_ipv4() { "v4" } else { "v6" };
        format!("[{family} source {number}/{}]", net.prefix_len())
    }
}

/// Replaces the text between quotes: a value of a file.
fn unquoted(text: &str) -> String {
    let (mut out, mut quote) = (String::new(), None);
    for c in text.chars() {
        match quote {
            Some(end) if c == end => {
                quote = None;
                out.push_str(REDACTED);
                out.push(c);
            }
            Some(_) => {}
            None => {
                out.push(c);
                quote = matches!(c, '"' | '\'').then_some(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources_labels_and_quoted_values_go_and_the_rest_stays() {
        let endpoints = ["192.0.2.10".to_owned(), "2001:db8::10".to_owned()];
        let redaction = Redaction::new(&endpoints);
        for (name, value, expected) in [
            ("source", "203.0.113.7", "[v4 source 1/32]"),
            ("cidr", "203.0.113.0/24", "[v4 source 2/24]"),
            ("cidr", "2001:db8:4::/48", "[v6 source 3/48]"),
            ("source", "203.0.113.7", "[v4 source 1/32]"),
            ("endpoint", "192.0.2.10:30092/tcp", "192.0.2.10:30092/tcp"),
            ("endpoint", "[2001:db8::10]:30092/tcp", "[2001:db8::10]:30092/tcp"),
            ("endpoint", "*:30100/tcp", "*:30100/tcp"),
            ("label", "Office network", REDACTED),
            ("suggestion", "{id: a, cidr: 203.0.113.7/32}", "{id: a, cidr: [v4 source 1/32]}"),
            (
                "errors",
                "line 8, column 42: rules[0].cidr: '203.0.113.300/24': is not",
                "line 8, column 42: rules[0].cidr: '[redacted]': is not",
            ),
            ("message", "refused 198.51.100.7: no rule.", "refused [v4 source 4/32]: no rule."),
            ("object", "198.51.100.9:5432", "[v4 source 5/32]:5432"),
            ("time", "2026-11-28T17:34:01.691868Z", "2026-11-28T17:34:01.691868Z"),
            ("digest", "58432c3dd7f5859faa", "58432c3dd7f5859faa"),
            ("listen", "unix:/run/firewall-agent/http.sock", "unix:/run/firewall-agent/http.sock"),
            ("listen", "0.0.0.0:9639", "0.0.0.0:9639"),
        ] {
            let redacted = redaction.of(json!({name: value}));
            assert_eq!(redacted, json!({name: expected}), "{name}");
        }
        let named = json!([{"database_id": "a", "name": "Orders"}, {"name": "eth0", "mode": "native"}]);
        let expected = json!([{"database_id": "a", "name": REDACTED}, {"name": "eth0", "mode": "native"}]);
        assert_eq!(redaction.of(named), expected);
        let nested = json!({"a": [{"labels": ["x", ""], "packets": 3, "ok": true, "none": null}]});
        assert_eq!(
            redaction.of(nested),
            json!({"a": [{"labels": [REDACTED, ""], "packets": 3, "ok": true, "none": null}]})
        );
    }
}
