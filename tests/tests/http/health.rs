//! `firewall-agent health`, as a probe runs it.

use std::fs;

use crate::stage::{Stage, TCP};

#[test]
fn health_tells_alive_from_ready_from_gone() {
    let mut stage = Stage::new();
    let ask = |stage: &Stage, arguments: &[&str]| {
        let answer = stage.home.ask(&[&["health"], arguments].concat()).unwrap();
        (answer.code.unwrap(), answer.out, answer.err)
    };
    let alive = (0, "alive\n".to_owned(), String::new());
    assert_eq!(ask(&stage, &[]), alive);
    stage.until("TCP is served", || stage.get_by_tcp("/healthz").is_some());
    assert_eq!(ask(&stage, &["--listen", TCP]), alive);

    let status = stage.home.status().unwrap().0;
    let (code, out, err) = ask(&stage, &["--ready"]);
    if status["ready"] == true {
        assert_eq!((code, out.as_str(), err.as_str()), (0, "ready\n", ""));
    } else {
        assert!(code == 4 && err.is_empty() && out.starts_with("not ready"), "{code} {out:?} {err:?}");
    }

    stage.stop();
    for arguments in [&[][..], &["--ready"]] {
        let (code, out, err) = ask(&stage, arguments);
        let is_one_error = err.starts_with("error: unix:") && err.lines().count() == 1;
        assert!(code == 1 && out.is_empty() && is_one_error, "{arguments:?}: {code} {out:?} {err:?}");
    }
    fs::remove_file(stage.socket()).unwrap();
    assert_eq!(ask(&stage, &[]).0, 1);

    let config = fs::read_to_string(stage.home.config()).unwrap();
    let (before, rest) = config.split_once("listen: ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    fs::write(stage.home.config(), format!("{before}listen: []\n{after}")).unwrap();
    let (code, _, err) = ask(&stage, &[]);
    assert!(code == 2 && err.contains("listen: empty"), "{code} {err:?}");
    // The firewall runs even without a listener.
    let mut agent = stage.home.start().unwrap();
    let pid = u64::from(agent.pid());
    agent
        .wait_until("the agent runs", || {
            stage.home.status().is_ok_and(|status| status.0["agent"]["pid"].as_u64() == Some(pid))
        })
        .unwrap();
}
