use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::subscriber::with_default;
use tracing::{error, info};

use super::*;

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the lines logged during `log`.
fn logged(format: LogFormat, limit: &Limit, log: impl FnOnce()) -> Vec<String> {
    let output = Output::default();
    let out = output.clone();
    let subscriber =
        subscriber(format, EnvFilter::new("info"), limit.clone(), Queue::default(), move || out.clone());
    with_default(subscriber, log);
    let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.split_terminator('\n').map(str::to_owned).collect()
}

#[test]
fn empty_variable_sets_no_level() {
    for (variable, level) in [
        (None, LEVELS),
        (Some(""), LEVELS),
        (Some(" "), LEVELS),
        (Some("warn"), "warn"),
        (Some("=x="), LEVELS),
    ] {
        assert_eq!(filter(variable).to_string(), level, "{variable:?}");
    }
}

/// Names full of terminal control sequences.
fn hostile() -> String {
    const PARTS: [&str; 14] = [
        "\u{1b}[2J",
        "\u{1b}]0;title\u{7}",
        "\n",
        "\r",
        "\t",
        "\0",
        "\u{7f}",
        "\u{85}",
        "\u{9b}31m",
        "\u{2028}",
        "\u{202e}",
        "\"",
        "\\",
        "ü",
    ];
    (0..fastrand::usize(1..12)).map(|_| fastrand::choice(PARTS).unwrap()).collect()
}

#[test]
fn foreign_text_cannot_control_the_terminal_or_start_a_log_line() {
    for format in [LogFormat::Human, LogFormat::Json] {
        for _ in 0..500 {
            let name = hostile();
            let lines = logged(format, &Limit::default(), || {
                error!(text = name, shown = %name, debugged = ?name, "message");
                info!("{name}");
            });
            assert_eq!(lines.len(), 2, "{name:?}: {lines:?}");
            for line in &lines {
                assert!(!line.contains(|c: char| c.is_control()), "{name:?}: {line:?}");
                assert!(!line.contains(['\u{2028}', '\u{202e}']), "{name:?}: {line:?}");
            }
            if format == LogFormat::Json {
                let value: Value = serde_json::from_str(&lines[0]).unwrap();
                assert_eq!((&value["text"], &value["shown"]), (&name.clone().into(), &name.clone().into()));
                assert_eq!((&value["level"], &value["message"]), (&"ERROR".into(), &"message".into()));
            }
        }
    }
}

#[test]
fn flood_is_limited_and_counted_and_delays_no_other_message() {
    let limit = Limit::default();
    let lines = logged(LogFormat::Human, &limit, || {
        for number in 0..1000 {
            error!(number, "again and again");
        }
        error!("something else");
        limit.report();
        limit.report();
    });
    let flood = lines.iter().filter(|line| line.contains("again and again number=")).count();
    assert!((20..=25).contains(&flood), "{flood} lines of 1000");
    assert!(lines.iter().any(|line| line.contains("something else")));
    let reports: Vec<_> = lines.iter().filter(|line| line.contains("log lines dropped")).collect();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains(&format!("lines={}", 1000 - flood)), "{reports:?}");
    assert!(reports[0].contains("again and again"), "{reports:?}");
}

#[test]
fn limit_permits_one_message_per_database() {
    let lines = logged(LogFormat::Json, &Limit::default(), || {
        (0..256).for_each(|number| info!(number, "in force"));
    });
    assert_eq!(lines.len(), 256);
}

/// Writer that blocks while the mutex is locked.
struct Blocking(Output, Arc<Mutex<()>>);

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _passes = self.1.lock().unwrap();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn stalled_reader_blocks_nothing_and_learns_the_dropped_count() {
    let (queue, limit, output, mutex) =
        (Queue::default(), Limit::default(), Output::default(), Arc::default());
    let (lines, out) = (queue.clone(), Blocking(output.clone(), Arc::clone(&mutex)));
    spawn("log", move || lines.write_to(out)).unwrap();
    let log = |text: &str, times: usize| {
        let out = queue.clone();
        let subscriber = subscriber(
            LogFormat::Human,
            EnvFilter::new("debug"),
            limit.clone(),
            Queue::default(),
            move || out.clone(),
        );
        with_default(subscriber, || {
            (0..times).for_each(|number| tracing::debug!(number, "{text}"));
            report(&limit, &queue);
        });
    };
    let blocked = mutex.lock().unwrap();
    let long = "x".repeat(1000);
    log(&long, 3000);
    assert_eq!(queue.take_dropped(), 0, "no room to report it");
    queue.drain(Duration::from_millis(10));
    drop(blocked);
    queue.drain(Duration::from_secs(60));
    log("read again", 1);
    queue.drain(Duration::from_secs(60));
    let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    let written: Vec<&str> = text.lines().collect();
    let queued = written.iter().filter(|line| line.contains(&long)).count();
    assert!((500..1500).contains(&queued), "{queued} lines of 3000");
    for (number, line) in written[..queued].iter().enumerate() {
        assert!(line.ends_with(&format!("number={number}")), "{line}");
    }
    let [again, report] = written[queued..] else { panic!("{:?}", &written[queued..]) };
    assert!(again.contains("read again"), "{again}");
    let missed = format!("log lines dropped lines={} ", 3000 - queued);
    assert!(report.contains(&missed), "{report}");
}
