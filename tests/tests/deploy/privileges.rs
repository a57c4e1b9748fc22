//! Privileges under the container manifest: file capabilities of the program, for a user without any.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use firewall_tests::lab::{
    AgentHome, CAPABILITY_MASK, Host, TestHost, User, agent_binary, eventually, process_status,
};

use crate::setup::copy_program;

/// The bounding set that a runtime derives from `add: [BPF, NET_ADMIN, PERFMON]` for a user other than root; the
/// ambient set is empty.
const BOUNDING: &str = "-all,+bpf,+net_admin,+perfmon";
const FILE: &str = "cap_bpf,cap_net_admin,cap_perfmon=p";

#[test]
fn unprivileged_user_runs_the_agent_with_only_file_capabilities() {
    let host = TestHost::builder().guarded_ports(&["5432"]).build();
    let (db, home) = (&host.db, &host.home);
    let program = home.config().with_file_name("capable");
    copy_program(&agent_binary().unwrap(), &program);

    // Controls: a program without capabilities, and a user with `no_new_privs`.
    let ends_by_itself = |mut child: Child| {
        let ended = eventually(Duration::from_secs(10), "it ends", || child.try_wait().unwrap());
        child.kill().unwrap();
        ended.unwrap().code()
    };
    assert_eq!(ends_by_itself(start(db, &program, home, &[])), Some(1));
    let set = Command::new("setcap").arg(FILE).arg(&program).status().unwrap();
    assert!(set.success());
    assert_ne!(
        ends_by_itself(start(
            db,
            &program,
            home,
            &["setpriv", "--no-new-privs", "--pdeathsig", "KILL", "--"]
        )),
        Some(0)
    );

    let mut child = start(db, &program, home, &[]);
    let attached = || home.status().is_ok_and(|status| status["interfaces"][0]["mode"] == "native");
    let up = eventually(Duration::from_secs(10), "eth0 is filtered", || attached().then_some(()));
    let rights = rights(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    up.unwrap();
    assert_eq!(rights, [CAPABILITY_MASK; 3]);
}

/// `through` is a wrapper command line for the program.
fn start(host: &Host, program: &Path, home: &AgentHome, through: &[&str]) -> Child {
    let id = User::Unprivileged.id().to_string();
    let mut setpriv = host.command("setpriv");
    setpriv.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--pdeathsig", "KILL"]);
    setpriv.args(["--inh-caps", "-all", "--ambient-caps", "-all", "--bounding-set", BOUNDING, "--"]);
    setpriv.args(through).arg(program).arg("run").arg("--config").arg(home.config());
    setpriv.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Returns permitted, effective and bounding capabilities of a process.
fn rights(process: u32) -> [u64; 3] {
    let status = process_status(process).unwrap();
    [status.capprm, status.capeff, status.capbnd.unwrap()]
}
