//! `firewall-agent health`, as a probe runs it.

use std::fs;

use firewall_tests::lab::TestHost;

use crate::setup::{Http as _, TCP, listening};

#[test]
fn health_distinguishes_alive_ready_and_stopped() {
    let host = listening();
    let ask = |host: &TestHost, arguments: &[&str]| {
        let answer = host.home.ask(&[&["health"], arguments].concat()).unwrap();
        (answer.code.unwrap(), answer.out, answer.err)
    };
    let alive = (0, "alive\n".to_owned(), String::new());
    assert_eq!(ask(&host, &[]), alive);
    host.eventually("TCP is served", || host.get_by_tcp("/healthz").is_some());
    assert_eq!(ask(&host, &["--listen", TCP]), alive);

    let status = host.status();
    let (code, out, err) = ask(&host, &["--ready"]);
    if status["ready"] == true {
        assert_eq!((code, out.as_str(), err.as_str()), (0, "ready\n", ""));
    } else {
        assert!(code == 4 && err.is_empty() && out.starts_with("not ready"), "{code} {out:?} {err:?}");
    }

    host.stop();
    for arguments in [&[][..], &["--ready"]] {
        let (code, out, err) = ask(&host, arguments);
        let is_one_error = err.starts_with("error: unix:") && err.lines().count() == 1;
        assert!(code == 1 && out.is_empty() && is_one_error, "{arguments:?}: {code} {out:?} {err:?}");
    }
    fs::remove_file(host.socket()).unwrap();
    assert_eq!(ask(&host, &[]).0, 1);

    let config = fs::read_to_string(host.home.config()).unwrap();
    let (before, rest) = config.split_once("listen: ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    fs::write(host.home.config(), format!("{before}listen: []\n{after}")).unwrap();
    let (code, _, err) = ask(&host, &[]);
    assert!(code == 2 && err.contains("listen: empty"), "{code} {err:?}");
    // The firewall runs even without a listener.
    host.start();
}
