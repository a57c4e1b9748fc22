//! `detach` and `attach` by an operator, and `restore` before the daemon runs.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use firewall_tests::lab::User;

use crate::stage::{DATABASE, INTERFACE, PORT, SERVERS, Stage, at};
use crate::traffic::Traffic;

const FLOW: Duration = Duration::from_millis(300);

#[test]
fn detach_takes_everything_down_and_holds_until_attach() {
    let stage = Stage::new();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    let unsure = stage.home.ask(&["detach"]).unwrap();
    assert_eq!(unsure.code, Some(2), "{unsure:?}");
    assert_eq!(leaks(&stage), 0, "without --yes nothing happens");

    let down = stage.home.ask(&["detach", "--yes"]).unwrap();
    assert_eq!(down.code, Some(0), "{down:?}");
    for open in [INTERFACE, &format!("{}:{PORT}/udp", SERVERS[0]), "5432"] {
        assert!(down.out.contains(open), "{open}: {down:?}");
    }
    assert!(leaks(&stage) > 0, "the daemon runs, and everything is open");
    agent.wait_until("it is not ready", || stage.status()["ready"] == false).unwrap();
    assert!(stage.status()["not_ready"].to_string().contains("detached by an operator"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(leaks(&stage) > 0, "it is not repaired");
    agent.kill().unwrap();
    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    assert!(leaks(&stage) > 0, "a restart leaves it down");
    agent.terminate().unwrap();
    let restored = stage.home.ask(&["restore", "--wait", "1s"]).unwrap();
    assert!(restored.out.contains("nothing is attached"), "{restored:?}");
    assert!(leaks(&stage) > 0);

    let mut agent = stage.start();
    agent.wait_for_revision(&stage.home, DATABASE, 1).unwrap();
    let up = stage.home.ask(&["attach"]).unwrap();
    assert_eq!(up.code, Some(0), "{up:?}");
    assert_eq!(leaks(&stage), 0);
    agent.wait_until("it is ready", || stage.status()["ready"] == true).unwrap();
}

#[test]
fn detach_and_attach_need_no_daemon() {
    let stage = Stage::new();
    stage.start().terminate().unwrap();
    assert_eq!(leaks(&stage), 0);
    let down = stage.home.ask(&["detach", "--yes"]).unwrap();
    assert_eq!(down.code, Some(0), "{down:?}");
    assert!(leaks(&stage) > 0);
    let up = stage.home.ask(&["attach"]).unwrap();
    assert_eq!(up.code, Some(0), "{up:?}");
    assert_eq!(leaks(&stage), 0);
}

#[test]
fn restore_puts_the_last_good_state_in_force_after_a_reboot_without_files() {
    let stage = Stage::new();
    stage.start().terminate().unwrap();
    let before = stage.status()["databases"][0]["digest"].clone();
    fs::remove_dir_all(stage.dir().join("rules.d")).unwrap();
    for pins in fs::read_dir(stage.home.pins()).unwrap() {
        fs::remove_dir_all(pins.unwrap().path()).unwrap();
    }
    assert!(leaks(&stage) > 0, "the control: a reboot opens the host");
    let restored = stage.home.ask(&["restore"]).unwrap();
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(restored.out.contains("1 databases") && restored.out.contains(INTERFACE), "{restored:?}");
    assert_eq!(leaks(&stage), 0);
    assert_eq!(stage.status()["databases"][0]["digest"], before);
}

#[test]
fn restore_without_anything_closes_the_guarded_ports_and_says_what_interface_is_missing() {
    let stage = Stage::with(&[INTERFACE, "late0"], "native");
    fs::remove_dir_all(stage.dir().join("rules.d")).unwrap();
    let listener = {
        let _inside = stage.db.enter().unwrap();
        TcpListener::bind(at("::", PORT)).unwrap()
    };
    let connects = || stage.clients.connect(at(SERVERS[0], PORT), FLOW).is_ok();
    assert!(connects(), "the control");
    let restored = stage.home.ask(&["restore", "--wait", "300ms"]).unwrap();
    assert_eq!(restored.code, Some(1), "{restored:?}");
    assert!(restored.err.contains("interface late0: not found"), "{restored:?}");
    assert!(!connects(), "{restored:?}");
    drop(listener);
}

/// A container's own bpffs ends with the container, and so does the firewall.
#[test]
fn a_bpffs_of_a_containers_own_is_refused_and_a_directory_of_the_hosts_is_not() {
    let stage = Stage::new();
    let run = |setup: &str| {
        let agent = stage.dir().join("firewall-agent");
        let script = format!(
            "{setup} && chown {id} /sys/fs/bpf && setpriv --reuid {id} --clear-groups --inh-caps {caps} \
             --ambient-caps {caps} --bounding-set {caps} -- {} restore --wait 100ms --config {}",
            agent.display(),
            stage.home.config().display(),
            id = User::Unprivileged.id(),
            caps = "-all,+bpf,+net_admin,+perfmon",
        );
        let mut unshare = stage.db.command("unshare");
        unshare.args(["--pid", "--fork", "--mount", "--mount-proc", "sh", "-c", &script]).output().unwrap()
    };
    let pins = stage.home.pins().display().to_string();
    let own = run(&format!(
        "mount -t bpf bpf /sys/fs/bpf && mkdir {pins} && chown {} {pins}",
        User::Unprivileged.id()
    ));
    let said = String::from_utf8_lossy(&own.stderr).into_owned();
    assert_eq!(own.status.code(), Some(1), "{said}");
    assert!(said.contains("on a bpffs of this container"), "{said}");
    let given = run("true");
    assert!(given.status.success(), "{given:?}");
}

fn leaks(stage: &Stage) -> u64 {
    let count = Traffic::start(stage).end_after(FLOW);
    assert!(count.rounds > 0, "{count:?}");
    count.leaked
}
