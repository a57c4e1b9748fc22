//! `docs/reference.md` has a row for each key of the configuration and for each field of the pushed files, with the
//! types, defaults and bounds of the code.

use std::fs;
use std::path::Path;
use std::time::Duration;

use firewall_agent::cli::definition;
use firewall_agent::config::{Config, ConfigFile, read_config};
use firewall_agent::rules::{database_schema, ranges_schema};
use serde_json::Value;

/// The lists of maps, by their field and its heading.
const LISTS: [(&str, &str); 4] = [
    ("endpoints", "Endpoints"),
    ("rules", "Rules"),
    ("internal_ranges", "Internal ranges"),
    ("ranges", "Ranges"),
];

fn reference() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md")).unwrap()
}

/// Returns the cells of the rows of the first table below a heading, without its head.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, section) = document.split_once(&format!("# {heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    let table =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Returns the key, its default and its bounds, as the document writes them.
fn documented_key(row: &[&str]) -> (String, String, String) {
    let [key, kind, default, bounds, meaning] = row else { panic!("{row:?}") };
    assert!(kind.len() > 3 && meaning.len() > 10, "{row:?}");
    (key.trim_matches('`').to_owned(), default.trim_matches('`').to_owned(), (*bounds).to_owned())
}

/// Every key of a configuration that gives the required ones only, in the order of the fields of [`ConfigFile`].
fn defaults() -> Vec<(String, String)> {
    let file = read_config(b"interfaces: [eth0]\nguarded_ports: [5432]\n").unwrap().value;
    // A new key does not compile until it is in the list.
    let Config {
        interfaces: _,
        xdp_mode,
        rules_dir,
        managed_ranges,
        blocked_ranges,
        trusted_keys,
        state_dir,
        bpffs_dir,
        node_name,
        listen,
        control_socket,
        guarded_ports: _,
        socket_filter,
        socket_filter_cgroup,
        socket_filter_loopback,
        revoke_sessions,
        allow_monitor,
        max_rules_per_database,
        max_databases,
        most_files: _,
        max_endpoints,
        max_prefixes,
        max_rule_counters,
        denied_history_days,
        denied_history_mib,
        packet_log,
        rescan_interval,
        drift_interval,
        propagation_window,
    } = Config::resolve(file, ConfigFile::default(), "the host name").unwrap();
    let required = || "required".to_owned();
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let span = |span: Duration| format!("{}s", span.as_secs());
    assert!(trusted_keys.is_empty() && blocked_ranges.is_none());
    let defaults = [
        ("interfaces", required()),
        ("xdp_mode", xdp_mode.to_string()),
        ("rules_dir", rules_dir.display().to_string()),
        ("managed_ranges", managed_ranges.display().to_string()),
        ("blocked_ranges", "none".to_owned()),
        ("trusted_keys", "none".to_owned()),
        ("state_dir", state_dir.display().to_string()),
        ("bpffs_dir", bpffs_dir.display().to_string()),
        ("node_name", node_name),
        ("listen", format!("[{}]", listen.join(", "))),
        ("control_socket", control_socket.display().to_string()),
        ("guarded_ports", required()),
        ("socket_filter", socket_filter.to_string()),
        ("socket_filter_cgroup", socket_filter_cgroup.display().to_string()),
        ("socket_filter_loopback", socket_filter_loopback.to_string()),
        ("revoke_sessions", format!("{revoke_sessions:?}").to_lowercase()),
        ("allow_monitor", allow_monitor.to_string()),
        ("max_rules_per_database", max_rules_per_database.to_string()),
        ("max_databases", max_databases.to_string()),
        ("max_endpoints", max_endpoints.to_string()),
        ("max_prefixes", max_prefixes.to_string()),
        ("max_rule_counters", max_rule_counters.to_string()),
        ("denied_history_days", denied_history_days.to_string()),
        ("denied_history_mib", denied_history_mib.to_string()),
        ("packet_log", packet_log.to_string()),
        ("rescan_interval", span(rescan_interval)),
        ("drift_interval", span(drift_interval)),
        ("propagation_window", span(propagation_window)),
    ];
    defaults.map(|(key, default)| (key.to_owned(), default)).into()
}

#[test]
fn reference_has_every_key_with_its_default() {
    let definition = definition();
    let run = definition.find_subcommand("run").unwrap();
    let keys = run.get_arguments().map(|flag| flag.get_id().as_str()).filter(|id| *id != "log_format");
    let defaults = defaults();
    assert_eq!(keys.collect::<Vec<_>>(), defaults.iter().map(|(key, _)| key).collect::<Vec<_>>());
    let document = reference();
    let rows = rows(&document, "Configuration");
    let documented: Vec<(String, String)> = rows
        .iter()
        .map(|row| {
            let (key, default, _) = documented_key(row);
            (key, default)
        })
        .collect();
    assert_eq!(documented, defaults);
    // The help of each flag has the same default.
    for (key, default) in &documented {
        let flag = run.get_arguments().find(|flag| flag.get_id() == key.as_str()).unwrap();
        let (help, default) = (flag.get_help().unwrap().to_string(), default.trim_matches(['[', ']']));
        let has_none = ["required", "none"].contains(&default);
        assert!(help.contains(&format!("[default: {default}]")) != has_none, "{key}: {default}: {help}");
    }
}

/// Returns whether the configuration file may have this value.
fn is_accepted(key: &str, value: &str) -> bool {
    read_config(format!("{key}: {value}\n").as_bytes()).is_ok()
}

#[test]
fn documented_bounds_of_keys_are_those_of_the_parser() {
    let definition = definition();
    let run = definition.find_subcommand("run").unwrap();
    let document = reference();
    let mut checked = 0;
    for row in rows(&document, "Configuration") {
        let (key, _, bounds) = documented_key(&row);
        let flag = run.get_arguments().find(|flag| flag.get_id() == key.as_str()).unwrap();
        let (inside, outside): (Vec<String>, Vec<String>) = match row[1] {
            "number" => {
                let (least, most) = bounds.split_once(" to ").unwrap();
                let beyond = most.parse::<u64>().unwrap() + 1;
                assert_eq!(least, "1", "{key}");
                (vec![least.to_owned(), most.to_owned()], vec!["0".to_owned(), beyond.to_string()])
            }
            "time span" => {
                assert_eq!(bounds, "1ms to 24h", "{key}");
                (["1ms", "24h"].map(str::to_owned).into(), ["0ms", "86400001ms"].map(str::to_owned).into())
            }
            "choice" | "truth" => {
                let values: Vec<String> =
                    bounds.split(", ").map(|one| one.trim_matches('`').to_owned()).collect();
                if row[1] == "choice" {
                    let possible = flag.get_possible_values();
                    assert_eq!(
                        possible.iter().map(|one| one.get_name()).collect::<Vec<_>>(),
                        values,
                        "{key}"
                    );
                }
                (values, vec!["yes".to_owned()])
            }
            "path" => {
                assert!(bounds.starts_with("absolute"), "{key}");
                (vec!["/a".to_owned()], vec!["a".to_owned()])
            }
            "text" => {
                let (most, beyond) = ("a".repeat(256), "a".repeat(257));
                assert_eq!(bounds, "1 to 256 characters", "{key}");
                (vec![most], vec!["''".to_owned(), beyond])
            }
            _ => match &*key {
                "interfaces" => (vec!["[eth0, bond*]".to_owned()], vec!["[]".to_owned()]),
                "trusted_keys" => (Vec::new(), vec!["[]".to_owned()]),
                "listen" => (vec!["['unix:/a', 127.0.0.1:1]".to_owned()], vec!["[host:1]".to_owned()]),
                "guarded_ports" => {
                    let kinds = "[1, 2-65535, {ports: 30000-32767, new_connections_only: true}]";
                    (vec![kinds.to_owned(), "[]".to_owned()], vec!["[0]".to_owned(), "[65536]".to_owned()])
                }
                other => panic!("{other}: {row:?}"),
            },
        };
        for value in inside {
            assert!(is_accepted(&key, &value), "{key}: {value}");
        }
        for value in outside {
            assert!(!is_accepted(&key, &value), "{key}: {value}");
        }
        checked += 1;
    }
    assert_eq!(checked, defaults().len());
}

/// Returns the first four cells of each field of a map, as the document writes them.
fn expected(map: &Value) -> Vec<Vec<String>> {
    let names = |value: &Value| -> Vec<String> {
        let names = value.as_array().into_iter().flatten();
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let required = names(&map["required"]);
    let conditions: Vec<&Value> = map["allOf"].as_array().into_iter().flatten().collect();
    let fields = map["properties"].as_object().unwrap();
    let cells = fields.iter().map(|(name, field)| {
        let mut is_required = if required.contains(name) { "yes" } else { "no" }.to_owned();
        let mut least = None;
        for condition in &conditions {
            if names(&condition["then"]["required"]).contains(name) {
                let (other, of) = condition["if"]["properties"].as_object().unwrap().iter().next().unwrap();
                is_required = format!("if `{other}` is `{}`", of["const"].as_str().unwrap());
                if condition["else"]["properties"][name] == false {
                    is_required += ", else forbidden";
                }
                least = condition["then"]["properties"][name]["minItems"].as_u64();
            }
        }
        // Numbers and truth values print as they are, texts in quotes.
        let default =
            field.get("default").map(|default| format!("`{}`", default.to_string().trim_matches('"')));
        let default = default.unwrap_or_else(|| "none".to_owned());
        vec![format!("`{name}`"), is_required, value(name, field, least), default]
    });
    cells.collect()
}

/// Returns the description of a field's value.
fn value(name: &str, field: &Value, least: Option<u64>) -> String {
    let named = |field: &Value| {
        let name = field["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        Some(match name {
            "ident" => "identifier",
            "label" => "text",
            "time" => "time",
            "cidr" => "CIDR",
            "address" => "address",
            other => panic!("{other}: not in the reference"),
        })
    };
    if let Some(named) = named(field) {
        return named.to_owned();
    }
    if let Some(constant) = field.get("const") {
        return format!("`{constant}`");
    }
    if let Some(choices) = field["enum"].as_array() {
        let choices: Vec<String> = choices.iter().map(|one| format!("`{}`", one.as_str().unwrap())).collect();
        return choices.join(" or ");
    }
    match field["type"].as_str().unwrap() {
        "integer" => format!("number, {} to {}", field["minimum"], field["maximum"]),
        "boolean" => "`true` or `false`".to_owned(),
        "string" => format!("text, {} to {} characters", field["minLength"], field["maxLength"]),
        "array" => {
            let of = named(&field["items"]).map_or_else(
                || {
                    let (_, heading) = LISTS.iter().find(|(list, _)| *list == name).unwrap();
                    let heading = heading.to_lowercase();
                    format!("[{heading}](#{})", heading.replace(' ', "-"))
                },
                str::to_owned,
            );
            let least = least.map(|least| format!(", at least {least}")).unwrap_or_default();
            let most = field["maxItems"].as_u64().map(|most| format!(", at most {most}")).unwrap_or_default();
            format!("list of {of}{least}{most}")
        }
        other => panic!("{name}: {other}: not in the reference"),
    }
}

#[test]
fn reference_has_every_field_of_the_pushed_files() {
    let document = reference();
    let mut maps = vec![("Rule file", database_schema()), ("Managed ranges", ranges_schema())];
    let mut fields = 0;
    while let Some((heading, map)) = maps.pop() {
        for (list, heading) in LISTS {
            let items = &map["properties"][list]["items"];
            if items.is_object() {
                maps.push((heading, items.clone()));
            }
        }
        let rows = rows(&document, heading);
        let documented =
            |row: &Vec<&str>| -> Vec<String> { row[..4].iter().map(|cell| (*cell).to_owned()).collect() };
        let sorted = |mut cells: Vec<Vec<String>>| {
            cells.sort();
            cells
        };
        assert_eq!(sorted(rows.iter().map(documented).collect()), sorted(expected(&map)), "{heading}");
        for row in &rows {
            assert!(row.len() == 5 && row[4].len() > 8, "{heading}: a meaning: {row:?}");
        }
        fields += rows.len();
    }
    assert!(fields >= 29, "{fields}");
}
