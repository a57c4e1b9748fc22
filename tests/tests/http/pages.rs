//! The four pages, on both kinds of listener, and listeners that cannot be bound.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::setup::{Http as _, OFFICE_RULE, TCP, exchange, file, listening, request, stopped};

#[test]
fn every_page_is_served_on_every_listener() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    host.eventually("TCP is served", || host.get_by_tcp("/healthz").is_some());
    for (path, kind) in [
        ("/metrics", "text/plain; version=0.0.4"),
        ("/healthz", "text/plain"),
        ("/readyz", "application/json"),
        ("/status", "application/json"),
        ("/status?pretty", "application/json"),
    ] {
        for reply in [host.get(path), host.get_by_tcp(path).unwrap()] {
            let code_fits = reply.code == 200 || path == "/readyz" && reply.code == 503;
            assert!(code_fits && reply.head.contains(&format!("content-type: {kind}")), "{path}: {reply:?}");
            assert!(!reply.body.is_empty(), "{path}");
        }
        let head = exchange(UnixStream::connect(host.socket()).unwrap(), &request("HEAD", path)).unwrap();
        assert!([200, 503].contains(&head.code) && head.body.is_empty(), "{path}: {head:?}");
    }
    for path in ["/", "/metric", "/metrics/", "/../etc/passwd", "/status/orders"] {
        assert_eq!(host.get(path).code, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let stream = UnixStream::connect(host.socket()).unwrap();
        assert_eq!(exchange(stream, &request(method, "/metrics")).unwrap().code, 405, "{method}");
    }
}

#[test]
fn status_page_equals_the_status_command() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    host.write("broken.yaml", "database_id: x\n");
    let same = |mut status: Value| {
        // Only the command can fall back to another source.
        assert_eq!(status.as_object_mut().unwrap().remove("fallback").unwrap_or_default(), Value::Null);
        for counter in status["counters"].as_array_mut().unwrap() {
            // The hosts' own traffic changes these counters.
            counter["packets"].take();
            counter["bytes"].take();
        }
        status
    };
    let both = || {
        let page: Value = serde_json::from_str(&host.get("/status").body).unwrap();
        (same(page), same(host.status()))
    };
    host.eventually("the file is refused", || both().0["rejected_files"][0]["path"].is_string());
    let (page, status) = both();
    assert_eq!(format!("{page:#}"), format!("{status:#}"));
}

#[test]
fn readiness_matches_the_status_with_its_reasons() {
    let host = listening();
    let agree = || {
        let (reply, status) = (host.get("/readyz"), host.status());
        let page: Value = serde_json::from_str(&reply.body).unwrap();
        let ready = status["ready"].as_bool().unwrap();
        reply.code == if ready { 200 } else { 503 }
            && page["ready"] == ready
            && page["not_ready"] == status["not_ready"]
            && host.scrape().value("firewall_ready") == Some(f64::from(u8::from(ready)))
    };
    host.eventually("page, status and metric agree", agree);
}

#[test]
fn socket_is_accessible_only_to_its_group() {
    let host = listening();
    let mode = fs::metadata(host.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let control = fs::metadata(host.home.config().with_file_name("control.sock")).unwrap();
    assert_eq!(control.permissions().mode() & 0o777, 0o600);
}

#[test]
fn unbindable_listener_is_reported_and_blocks_nothing() {
    let host = stopped();
    let occupied = host.db.listen(TCP).unwrap();
    host.serve(&[]);
    let reported = |status: &Value| status["errors"].to_string().contains(&format!("listen {TCP}: "));
    host.apply("orders", 1, &[OFFICE_RULE]);
    host.eventually("it is in the status", || reported(&host.status()));
    host.eventually("the condition is logged", || {
        host.log().contains(r#"condition raised condition="listener""#)
    });
    assert_eq!(host.get("/healthz").code, 200);
    drop(occupied);
    host.eventually("it is bound as soon as it can be", || {
        host.get_by_tcp("/healthz").is_some_and(|reply| reply.code == 200)
    });
    host.eventually("it is no longer in the status", || !reported(&host.status()));
}

#[test]
fn responses_do_not_wait_for_a_publish() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    let delayed = host.tamper("delay_enter=300000");
    host.push(&file("orders", 2, &[]));
    let (mut answers, started) = (0, Instant::now());
    while started.elapsed() < Duration::from_secs(3) {
        let requested = Instant::now();
        assert_eq!(host.get("/healthz").code, 200);
        assert_eq!(host.get("/metrics").code, 200);
        assert!(requested.elapsed() < Duration::from_secs(5), "an answer took {:?}", requested.elapsed());
        answers += 1;
    }
    // Control: the publish was delayed the whole time.
    assert_eq!(host.home.database("orders").unwrap()["revision"], 1, "after {answers} answers");
    drop(delayed);
    host.eventually("the revision is in force", || {
        host.home.database("orders").is_ok_and(|one| one["revision"] == 2)
    });
}
