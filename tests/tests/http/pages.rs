//! The four pages, on both kinds of listener, and listeners that cannot be bound.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{OFFICE_RULE, Stage, TCP, exchange, file, request};

#[test]
fn every_page_is_served_on_every_listener() {
    let stage = Stage::new();
    stage.apply("orders", 1, &[OFFICE_RULE]);
    stage.until("TCP is served", || stage.get_by_tcp("/healthz").is_some());
    for (path, kind) in [
        ("/metrics", "text/plain; version=0.0.4"),
        ("/healthz", "text/plain"),
        ("/readyz", "application/json"),
        ("/status", "application/json"),
        ("/status?pretty", "application/json"),
    ] {
        for reply in [stage.get(path), stage.get_by_tcp(path).unwrap()] {
            let code_fits = reply.code == 200 || path == "/readyz" && reply.code == 503;
            assert!(code_fits && reply.head.contains(&format!("content-type: {kind}")), "{path}: {reply:?}");
            assert!(!reply.body.is_empty(), "{path}");
        }
        let head = exchange(UnixStream::connect(stage.socket()).unwrap(), &request("HEAD", path)).unwrap();
        assert!([200, 503].contains(&head.code) && head.body.is_empty(), "{path}: {head:?}");
    }
    for path in ["/", "/metric", "/metrics/", "/../etc/passwd", "/status/orders"] {
        assert_eq!(stage.get(path).code, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let stream = UnixStream::connect(stage.socket()).unwrap();
        assert_eq!(exchange(stream, &request(method, "/metrics")).unwrap().code, 405, "{method}");
    }
}

#[test]
fn the_status_page_is_what_the_command_says() {
    let stage = Stage::new();
    stage.apply("orders", 1, &[OFFICE_RULE]);
    stage.home.write_rules("broken.yaml", "database_id: x\n").unwrap();
    let same = |mut status: Value| {
        for counter in status["counters"].as_array_mut().unwrap() {
            // The hosts' own traffic changes these counters.
            counter["packets"].take();
            counter["bytes"].take();
        }
        status
    };
    let both = || {
        let page: Value = serde_json::from_str(&stage.get("/status").body).unwrap();
        (same(page), same(stage.home.status().unwrap().0))
    };
    stage.until("the file is refused", || both().0["rejected_files"][0]["path"].is_string());
    let (page, said) = both();
    assert_eq!(format!("{page:#}"), format!("{said:#}"));
}

#[test]
fn readiness_is_that_of_the_status_with_its_reasons() {
    let stage = Stage::new();
    let agree = || {
        let (reply, status) = (stage.get("/readyz"), stage.home.status().unwrap().0);
        let said: Value = serde_json::from_str(&reply.body).unwrap();
        let ready = status["ready"].as_bool().unwrap();
        reply.code == if ready { 200 } else { 503 }
            && said["ready"] == ready
            && said["not_ready"] == status["not_ready"]
            && stage.scrape().value("firewall_ready") == Some(f64::from(u8::from(ready)))
    };
    stage.until("page, status and metric agree", agree);
}

#[test]
fn the_socket_is_for_its_group_and_no_other() {
    let stage = Stage::new();
    let mode = fs::metadata(stage.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let control = fs::metadata(stage.home.config().with_file_name("control.sock")).unwrap();
    assert_eq!(control.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_listener_that_cannot_be_bound_is_said_and_holds_nothing_up() {
    let mut stage = Stage::without_agent("");
    let taken = {
        let _inside = stage.db.enter().unwrap();
        TcpListener::bind(TCP).unwrap()
    };
    stage.start();
    let said = |status: &Value| status["errors"].to_string().contains(&format!("listen {TCP}: "));
    stage.apply("orders", 1, &[OFFICE_RULE]);
    stage.until("it is in the status", || said(&stage.home.status().unwrap().0));
    assert!(stage.log().contains(r#"condition raised condition="listener""#), "{}", stage.log());
    assert_eq!(stage.get("/healthz").code, 200);
    drop(taken);
    stage.until("it is bound as soon as it can be", || {
        stage.get_by_tcp("/healthz").is_some_and(|reply| reply.code == 200)
    });
    stage.until("it is no longer in the status", || !said(&stage.home.status().unwrap().0));
}

#[test]
fn no_answer_waits_for_a_publish() {
    let stage = Stage::new();
    stage.apply("orders", 1, &[OFFICE_RULE]);
    let delayed = stage.tamper("delay_enter=300000");
    stage.home.write_rules("orders.yaml", &file("orders", 2, &[])).unwrap();
    let (mut answers, started) = (0, Instant::now());
    while started.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert_eq!(stage.get("/healthz").code, 200);
        assert_eq!(stage.get("/metrics").code, 200);
        assert!(asked.elapsed() < Duration::from_secs(5), "an answer took {:?}", asked.elapsed());
        answers += 1;
    }
    // Control: the publish was delayed the whole time.
    assert_eq!(stage.home.status().unwrap().revision("orders"), Some(1), "after {answers} answers");
    drop(delayed);
    stage.until("the revision is in force", || {
        stage.home.status().is_ok_and(|status| status.revision("orders") == Some(2))
    });
}
