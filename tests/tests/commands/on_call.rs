//! Situations of an engineer on call: the commands to type, and the lines that answer.

use std::fs;
use std::path::{Path, PathBuf};

use firewall_tests::lab::{Answer, RangesFile, RuleFile, TestHost};

use crate::setup::ranges;

/// A question, and at most three commands that answer it.
struct Situation {
    question: &'static str,
    steps: &'static [Step],
}

struct Step {
    /// Arguments of the program; `NEXT` is the directory of files that the control plane has not pushed yet, `ENTRY` the
    /// block of the overlay.
    command: &'static str,
    exit: i32,
    /// Patterns, each of one line of the output or of the errors; `…` is any text.
    lines: &'static [&'static str],
}

const fn step(command: &'static str, exit: i32, lines: &'static [&'static str]) -> Step {
    Step { command, exit, lines }
}

/// Situations that reading commands answer.
const READING: &[Situation] = &[
    Situation {
        question: "A customer cannot connect. Is it the firewall?",
        steps: &[
            step(
                "explain 192.0.2.66 orders",
                3,
                &[
                    "192.0.2.66 → 192.0.2.10:5432/tcp: drop (no_match)",
                    "rule none of its rules allows the source",
                    "refused … packets of this source, first …, last …",
                ],
            ),
            step("denied orders -o wide", 0, &["192.0.2.66 1 … orders … no_match"]),
        ],
    },
    Situation {
        question: "A customer cannot connect, and says that the rule is there.",
        steps: &[
            step("explain 192.0.2.81 orders", 3, &["expired fr-3 192.0.2.80/28, …"]),
            step("rules orders -o wide", 0, &["orders fr-3 … not in force … Contractor"]),
        ],
    },
    Situation {
        question: "A customer reads \"password authentication failed\". Is it the firewall?",
        steps: &[step(
            "explain 192.0.2.20 orders",
            0,
            &[
                "192.0.2.20 → 192.0.2.10:5432/tcp: pass (allowed)",
                "rule fr-4 (custom_range) 192.0.2.20/32 Office gateway",
            ],
        )],
    },
    Situation {
        question: "A customer added a rule an hour ago, and it has no effect.",
        steps: &[
            step(
                "explain 192.0.2.66 orders",
                3,
                &[
                    "in force revision 1, applied …",
                    "file …/orders.yaml: changed …, rejected",
                    "line … rules[4].cidr: '192.0.2.300/24': is not an IPv4 or IPv6 address",
                ],
            ),
            step("status", 0, &["! rejected …/orders.yaml: line …: rules[4].cidr: '192.0.2.300/24': …"]),
        ],
    },
    Situation {
        question: "The control plane pushed revision 2. Is it in force?",
        steps: &[step(
            "wait orders --revision 2 --timeout 1s",
            4,
            &[
                "database orders: revision 2 not in force after 1s: revision 1 is in force; …/orders.yaml is rejected: …",
            ],
        )],
    },
    Situation {
        question: "Does this host filter, and is anything wrong on it?",
        steps: &[
            step("status", 0, &["ready, 1 file rejected", "eth0 … native", "orders … rejected"]),
            step("health --ready", 0, &["ready"]),
        ],
    },
    Situation {
        question: "A customer connects from an IPv6 address.",
        steps: &[step(
            "explain 2001:db8::7 orders",
            3,
            &["2001:db8::7 → -: drop (no_endpoint)", "endpoint none for IPv6 sources"],
        )],
    },
    Situation {
        question: "A database was deleted, and a customer still tries to connect.",
        steps: &[step(
            "explain 192.0.2.20 192.0.2.10:5434",
            3,
            &["drop (closed)", "closed left behind by database gone: removed by revision 2, closed …"],
        )],
    },
    Situation {
        question: "A service on a port of the databases' range is not reachable.",
        steps: &[step(
            "explain 192.0.2.20 192.0.2.10:31000",
            3,
            &["drop (closed)", "closed guarded port, no file claims it"],
        )],
    },
    Situation {
        question: "Which databases of this host does this address reach?",
        steps: &[step(
            "explain 192.0.2.20",
            0,
            &[
                "192.0.2.20 → 192.0.2.10:5432/tcp: pass (allowed)",
                "192.0.2.20 → 192.0.2.10:5433/tcp: pass (allowed)",
            ],
        )],
    },
    Situation {
        question: "A ticket has the name of the database only.",
        steps: &[
            step(
                "rules Orders",
                2,
                &["error: database \"Orders\": matches several: orders (Orders), orders-eu (Orders)"],
            ),
            step("databases", 0, &["orders-eu Orders enforce … 192.0.2.10:5435/tcp"]),
        ],
    },
    Situation {
        question: "A ticket has the port only.",
        steps: &[step("rules :5433", 0, &["watched … custom_range 192.0.2.20/32"])],
    },
    Situation {
        question: "Who was refused last night, everywhere on this host?",
        steps: &[step(
            "denied --since 12h",
            0,
            &[
                "192.0.2.66 1 … orders … no_match",
                "192.0.2.21 1 … 192.0.2.10:5432/tcp blocked",
                "192.0.2.66 1 … 192.0.2.10:5434/tcp closed",
                "remembers since …",
            ],
        )],
    },
    Situation {
        question: "Which rule would let a refused client in?",
        steps: &[step(
            "denied orders",
            0,
            &["orders - {id: allow-192-0-2-66-32, type: custom_range, cidr: 192.0.2.66/32}"],
        )],
    },
    Situation {
        question: "A database is in monitor mode. Whom would enforcing it cut off?",
        steps: &[
            step("denied watched", 0, &["192.0.2.66 1 … watched … would_deny"]),
            step(
                "plan NEXT/watched.yaml",
                0,
                &[
                    "~ endpoint 192.0.2.10:5433/tcp monitor → enforce",
                    "! 192.0.2.66 loses access to 192.0.2.10:5433/tcp (admitted by no rule, last seen …)",
                ],
            ),
        ],
    },
    Situation {
        question: "What would this rule file change?",
        steps: &[step(
            "plan NEXT/orders.yaml",
            0,
            &[
                "orders (Orders): changed, revision 1 → 3",
                "+ 192.0.2.66/32 fr-5 (custom_range)",
                "! 192.0.2.66 gains access to 192.0.2.10:5432/tcp (by rule fr-5, last seen …)",
            ],
        )],
    },
    Situation {
        question: "The servers of a region cannot connect since an hour ago.",
        steps: &[
            step("status", 0, &["! range man-example: revision 2 loses 2 of 3 prefixes"]),
            step("ranges --history", 0, &["man-example 2 1 +0 -2"]),
            step("explain 198.51.100.9 orders", 3, &["drop (no_match)"]),
        ],
    },
    Situation {
        question: "A rule allows the customer, and the customer is refused all the same.",
        steps: &[
            step(
                "explain 192.0.2.21 orders",
                3,
                &[
                    "192.0.2.21 → 192.0.2.10:5432/tcp: drop (blocked)",
                    "rule abuse (blocked_range) 192.0.2.21/32",
                ],
            ),
            step("blocked abuse", 0, &["abuse … 1 1 …"]),
        ],
    },
    Situation {
        question: "Which rules can a customer delete?",
        steps: &[step("rules orders -o wide", 0, &["orders fr-4 … covered by fr-1 … Office gateway"])],
    },
    Situation {
        question: "What happened on this host?",
        steps: &[
            step(
                "events --since 12h",
                0,
                &["started programs loaded", "removed database removed, its endpoints stay closed"],
            ),
            step("events orders", 0, &["in_force … revision in force … database=orders"]),
            step(
                "events --kind rejected",
                0,
                &["rejected rule file rejected, previous revision stays in force …"],
            ),
        ],
    },
    Situation {
        question: "Is there a way to a database past the firewall?",
        steps: &[step(
            "audit",
            1,
            &[
                "loopback lo: 192.0.2.10:5434/tcp",
                "! not checked: …",
                "bypasses found: 3, of which accepted: 0",
            ],
        )],
    },
];

/// Situations that call for a change, one after the other on one host. The last command shows the effect.
const ACTING: &[Situation] = &[
    Situation {
        question: "The provider confirms that the shorter list is meant.",
        steps: &[
            step("ranges --ack", 0, &["range man-example: acknowledged: revision 2 loses 2 of 3 prefixes"]),
            step("events --kind condition", 0, &["condition cleared … condition=range_change …"]),
        ],
    },
    Situation {
        question: "A customer is locked out, and the control plane is down.",
        steps: &[
            step(
                "allow 192.0.2.66 orders --for 1h",
                0,
                &["allow:… allow 192.0.2.66/32 at database orders until …"],
            ),
            step("explain 192.0.2.66 orders", 0, &["pass (allowed)", "overlay allow:…, until …"]),
        ],
    },
    Situation {
        question: "A host on the internet attacks every database.",
        steps: &[
            step(
                "block 192.0.2.66 --for 1h --note scan",
                0,
                &["block:… block 192.0.2.66/32 everywhere until …"],
            ),
            step("explain 192.0.2.66 watched", 3, &["drop (blocked)", "overlay block:…: scan"]),
            step("status", 0, &["! overlay block:… block 192.0.2.66/32 everywhere until …"]),
        ],
    },
    Situation {
        question: "The attack is over.",
        steps: &[
            step("overlay -o wide", 0, &["block:… 192.0.2.66/32 every in 59 min … scan"]),
            step("overlay drop ENTRY", 0, &["block:…: dropped: block 192.0.2.66/32 everywhere"]),
            step("explain 192.0.2.66 watched", 0, &["pass (would_deny)"]),
        ],
    },
    Situation {
        question: "The passwords of a database have leaked: close it.",
        steps: &[
            step("close orders --for 1h", 0, &["close:… close database orders until …"]),
            step(
                "explain 192.0.2.20 orders",
                3,
                &["drop (closed)", "overlay close:…: close database orders, until …"],
            ),
            step(
                "events orders --kind overlay",
                0,
                &["overlay entry added action=close database orders database=orders …"],
            ),
        ],
    },
    Situation {
        question: "The incident lead decides to open the whole host.",
        steps: &[
            step(
                "detach --yes",
                0,
                &["detached until `attach`: eth0", "open to everyone now: 192.0.2.10:5432/tcp, …"],
            ),
            step(
                "status",
                0,
                &["! not ready: detached by an operator since …", "not ready, 1 file rejected"],
            ),
        ],
    },
    Situation {
        question: "The incident is over: filter again.",
        steps: &[
            step("attach", 0, &["attached: every configured interface is filtered"]),
            step("status", 0, &["ready, 1 file rejected", "eth0 native …"]),
        ],
    },
    Situation {
        question: "Another service takes over the address of a deleted database.",
        steps: &[
            step("forget gone --open", 0, &["database gone: forgotten; opened: 192.0.2.10:5434/tcp; …"]),
            step("explain 192.0.2.66 192.0.2.10:5434", 0, &["pass (not_protected)"]),
        ],
    },
];

/// A situation in which no command helps as long as a file says otherwise.
const BLOCKED: Situation = Situation {
    question: "A blocked range refuses a customer: does a permission help?",
    steps: &[
        step("allow 192.0.2.21 orders --for 1h", 0, &["abuse refuses it: a block comes first"]),
        step("explain 192.0.2.21 orders", 3, &["drop (blocked)", "rule abuse (blocked_range) …"]),
    ],
};

/// The control plane came back from a backup: it pushes a revision that is in force, with another content.
const RESTORED: Situation = Situation {
    question: "The host rejects the files of a restored control plane.",
    steps: &[
        step("status", 0, &["! rejected …/watched.yaml: …revision 1…"]),
        step(
            "rebase watched",
            0,
            &["database watched: its next file may have any revision; its rules stay in force"],
        ),
    ],
};

/// Situations after the agent died.
const DEAD: &[Situation] = &[
    Situation {
        question: "The agent is dead. Are the databases protected?",
        steps: &[
            step("health", 1, &["error: …: no answer from the daemon: …"]),
            step("status", 0, &["! agent not running: published rules stay in force", "eth0 native …"]),
            step("explain 192.0.2.77 orders-eu", 3, &["192.0.2.77 → 192.0.2.10:5435/tcp: drop (no_match)"]),
        ],
    },
    Situation {
        question: "Support wants data.",
        steps: &[step("support-bundle", 0, &["\"versions\": {", "\"rules\": [", "\"overlay\": ["])],
    },
];

const ORDERS: &str = "192.0.2.10:5432";
const WATCHED: &str = "192.0.2.10:5433";
const GONE: &str = "192.0.2.10:5434";
const OFFICE: &str = "192.0.2.20";
const BRANCH: &str = "192.0.2.21";
const STRANGER: &str = "192.0.2.66";

fn orders(revision: u64) -> RuleFile {
    RuleFile::new("orders", revision)
        .field("name: Orders")
        .endpoint(ORDERS)
        .rule("id: fr-1, type: custom_range, cidr: 192.0.2.16/28, label: Office network")
        .rule("id: fr-2, type: managed_range, range_id: man-example")
        .rule("id: fr-3, type: custom_range, cidr: 192.0.2.80/28, label: Contractor, expires_at: 2026-01-01T00:00:00Z")
        .rule("id: fr-4, type: custom_range, cidr: 192.0.2.20/32, label: Office gateway")
}

fn watched(revision: u64) -> RuleFile {
    RuleFile::new("watched", revision).endpoint(WATCHED).allow("192.0.2.20/32")
}

/// Writes the files that the control plane would push next; returns their directory.
fn next(host: &TestHost) -> PathBuf {
    let next = host.dir().join("next");
    fs::create_dir_all(&next).unwrap();
    fs::write(next.join("watched.yaml"), watched(2).to_string()).unwrap();
    fs::write(next.join("orders.yaml"), orders(3).allow("192.0.2.66/32").to_string()).unwrap();
    next
}

/// A host where every question of [`READING`] comes up.
fn troubled() -> TestHost {
    let host = TestHost::builder()
        .config("allow_monitor: true\n")
        .clients(&["192.0.2.20/24", "192.0.2.21/24", "192.0.2.66/24"])
        .listeners(&[ORDERS, WATCHED, GONE])
        .ranges(ranges(1, &["198.51.100.7/32", "198.51.100.8/32", "198.51.100.9/32"]))
        .rules(orders(1))
        .rules(RuleFile::new("orders-eu", 1).field("name: Orders").endpoint("192.0.2.10:5435"))
        .rules(watched(1).monitor())
        .rules(RuleFile::new("gone", 1).endpoint(GONE))
        .build();
    let blocked = host.dir().join("blocked.yaml");
    fs::write(&blocked, RangesFile::new(1).range("abuse", &["192.0.2.21/32"]).to_string()).unwrap();
    host.change_config("managed_ranges:", &format!("blocked_ranges: {}\nmanaged_ranges:", blocked.display()));
    host.start();
    for id in ["orders", "orders-eu", "watched", "gone"] {
        host.until_revision(id, 1);
    }
    host.push(&RuleFile::new("gone", 2).removed().endpoint(GONE));
    host.push_ranges(&ranges(2, &["198.51.100.7/32"]));
    host.eventually("the database is closed", || host.reason(OFFICE, GONE) == "closed");
    host.eventually("the list is in force", || host.reason("198.51.100.9", ORDERS) == "no_match");
    let attempts =
        [(OFFICE, ORDERS), (STRANGER, WATCHED), (BRANCH, ORDERS), (STRANGER, ORDERS), (STRANGER, GONE)];
    assert_eq!(attempts.map(|(from, to)| host.connects(from, to)), [true, true, false, false, false]);
    host.push(&orders(2).allow("192.0.2.300/24"));
    host.until_rejected("orders.yaml");
    host
}

/// A host where none of them does.
fn calm() -> TestHost {
    let host = TestHost::builder()
        .clients(&["192.0.2.20/24"])
        .ranges(ranges(1, &["198.51.100.9/32"]))
        .rules(
            RuleFile::new("orders", 4)
                .field("name: Orders")
                .endpoint(ORDERS)
                .endpoint("[2001:db8::10]:5432")
                .endpoint("192.0.2.10:31000")
                .rule("id: fr-2, type: managed_range, range_id: man-example")
                .rule("id: fr-5, type: custom_range, cidr: 192.0.2.66/32"),
        )
        .rules(RuleFile::new("watched", 1).endpoint(WATCHED).allow("192.0.2.30/32"))
        .rules(RuleFile::new("gone", 1).endpoint(GONE))
        .start();
    for (id, revision) in [("orders", 4), ("watched", 1), ("gone", 1)] {
        host.until_revision(id, revision);
    }
    host
}

fn ask(host: &TestHost, next: &Path, step: &Step) -> Answer {
    let mut command = step.command.replace("NEXT", next.to_str().unwrap());
    if command.contains("ENTRY") {
        let entries = host.json(&["overlay"]);
        let block = entries.as_array().unwrap().iter().find(|entry| entry["action"] == "block").unwrap();
        command = command.replace("ENTRY", block["id"].as_str().unwrap());
    }
    host.ask(&command.split(' ').collect::<Vec<_>>())
}

/// Returns `true` if the parts of a pattern stand in one line, in their order. Widths of columns do not count.
fn matches(pattern: &str, line: &str) -> bool {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = Some(line.as_str());
    for part in pattern.split('…').map(str::trim) {
        rest = rest.and_then(|text| Some(&text[text.find(part)? + part.len()..]));
    }
    rest.is_some()
}

fn answers(step: &Step, answer: &Answer) -> bool {
    let lines = || answer.out.lines().chain(answer.err.lines());
    answer.code == Some(step.exit)
        && step.lines.iter().all(|pattern| lines().any(|line| matches(pattern, line)))
}

fn assert_answered(situations: &[Situation], host: &TestHost, next: &Path) {
    for Situation { question, steps } in situations {
        assert!((1..=3).contains(&steps.len()), "{question}");
        for step in *steps {
            let answer = ask(host, next, step);
            assert!(
                answers(step, &answer),
                "{question}\n$ {}: not {:?}\n{answer:?}",
                step.command,
                step.lines
            );
        }
    }
}

#[test]
fn questions_of_an_engineer_on_call_are_answered_in_three_commands() {
    let host = troubled();
    let files = next(&host);
    assert_answered(READING, &host, &files);
    assert_answered(&[BLOCKED], &host, &files);
    for situation in ACTING {
        // The control: before, the last command does not show the effect.
        let last = situation.steps.last().unwrap();
        let before = ask(&host, &files, last);
        assert!(!answers(last, &before), "{}\n$ {}: {before:?}", situation.question, last.command);
        assert_answered(std::slice::from_ref(situation), &host, &files);
    }
    host.push(&watched(1));
    host.until_rejected("watched.yaml");
    assert_answered(&[RESTORED], &host, &files);
    host.eventually("the restored file is in force", || host.reason(STRANGER, WATCHED) == "no_match");
    host.kill();
    assert_answered(DEAD, &host, &files);
}

/// The control of the reading situations.
#[test]
fn host_without_trouble_gives_none_of_these_answers() {
    let host = calm();
    let files = next(&host);
    for Situation { question, steps } in READING {
        let alike = steps.iter().all(|step| answers(step, &ask(&host, &files, step)));
        assert!(!alike, "{question}: the answer does not depend on the trouble");
    }
    assert!(answers(&step("status", 0, &["ready"]), &host.ask(&["status"])));
}
