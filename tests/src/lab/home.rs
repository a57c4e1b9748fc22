//! An agent's installation on a host: config, rule files, state, pins; and the commands that an operator runs there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::chown;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

use super::{Agent, Answer, Host, Lab, RuleFile, User, database_of};

/// Enters the alternate screen.
const WHOLE_SCREEN: &[u8] = b"\x1b[?1049h";
/// More than two refreshes of `top`.
const REFRESHED: Duration = Duration::from_millis(2500);
/// The prompt of a shell.
const PROMPT: &str = "ready> ";
/// Exit code of timeout(1).
const TIMED_OUT: i32 = 124;

/// The part of the config in which agents differ.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    pub interfaces: &'a [&'a str],
    /// `native`, `generic` or `auto`.
    pub xdp_mode: &'a str,
    /// Ports and ranges in the syntax of the config: `5432`, `30000-32767`.
    pub guarded_ports: &'a [&'a str],
    /// Further lines of the config.
    pub more: &'a str,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self { interfaces: &["eth0"], xdp_mode: "native", guarded_ports: &["5432", "30000-32767"], more: "" }
    }
}

#[derive(Debug)]
pub struct AgentHome {
    host: Host,
    user: User,
    program: PathBuf,
    dir: PathBuf,
    pins: PathBuf,
}

impl AgentHome {
    /// Creates a home on `host` for the agent at `program`; `user` owns files and pins. Starts nothing.
    pub fn new(lab: &Lab, host: &Host, program: &Path, user: User, settings: &Settings<'_>) -> Result<Self> {
        let dir = lab.dir().join(format!("agent-{}", host.name()));
        let pins = PathBuf::from(format!("/sys/fs/bpf/firewall-agent-{}", host.name()));
        let home = Self { host: host.clone(), user, program: dir.join("firewall-agent"), dir, pins };
        for made in [&home.dir, &home.dir.join("rules.d"), &home.dir.join("state")] {
            home.give(made)?;
        }
        home.give_pins()?;
        home.bind_program(program)?;
        fs::write(home.config(), home.config_text(settings))?;
        Ok(home)
    }

    /// Creates the agent's directory on bpffs, as the privileged setup step does before the agent starts.
    pub fn give_pins(&self) -> Result<()> {
        self.give(&self.pins)
    }

    fn give(&self, dir: &Path) -> Result<()> {
        fs::create_dir(dir)?;
        let id = Some(self.user.id());
        Ok(chown(dir, id, id)?)
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("config.yaml")
    }

    /// Returns the directory in which the agent pins its maps, programs and links.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    pub fn rule_file(&self, name: &str) -> PathBuf {
        self.dir.join("rules.d").join(name)
    }

    /// Publishes a rule file atomically, as the control plane does; returns the time at which it became visible.
    pub fn write_rules(&self, name: &str, text: &str) -> Result<Instant> {
        self.replace(&self.rule_file(name), text)
    }

    /// As `write_rules`, under the name of the database.
    pub fn push(&self, file: &RuleFile) -> Result<Instant> {
        self.write_rules(&format!("{}.yaml", file.database()), &file.to_string())
    }

    /// As `write_rules`, for the managed ranges.
    pub fn write_ranges(&self, text: &str) -> Result<Instant> {
        self.replace(&self.dir.join("managed-ranges.yaml"), text)
    }

    pub fn remove_rules(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.rule_file(name))?)
    }

    /// Starts the daemon; its output goes to a log that outlives it.
    pub fn start(&self) -> Result<Agent> {
        self.start_with(&[])
    }

    /// As `start`, with further flags.
    pub fn start_with(&self, flags: &[&str]) -> Result<Agent> {
        self.start_by("", flags)
    }

    /// As `start_with`, through a wrapper command, split at spaces, that execs the program or detaches from it.
    pub fn start_by(&self, front: &str, flags: &[&str]) -> Result<Agent> {
        let out = File::options().create(true).append(true).open(self.log()).context("log")?;
        Agent::start(&mut self.command(self.user, front, &[&["run"], flags].concat()), out, self.log())
    }

    /// As `start`, with its output to `out`.
    pub fn start_into(&self, out: File) -> Result<Agent> {
        Agent::start(&mut self.command(self.user, "", &["run"]), out, self.log())
    }

    /// Returns a command of the agent by any user, through a wrapper command, split at spaces, unless `front` is empty.
    pub fn command(&self, user: User, front: &str, arguments: &[&str]) -> Command {
        let mut words = front.split_whitespace().map(OsStr::new).chain([self.program.as_os_str()]);
        let mut command = user.command(&self.host, words.next().unwrap_or_default());
        command.args(words).args(arguments).arg("--config").arg(self.config());
        command
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Replaces the agent's binary: an upgrade, or a downgrade.
    pub fn install(&self, program: &Path) -> Result<()> {
        umount2(&self.program, MntFlags::MNT_DETACH).context("the agent's program: not unmounted")?;
        fs::remove_file(&self.program)?;
        self.bind_program(program)
    }

    /// Runs a command of the agent to its end, as the agent's own user.
    pub fn ask(&self, arguments: &[&str]) -> Result<Answer> {
        self.ask_by("", arguments)
    }

    /// As `ask`, through a wrapper command, split at spaces.
    pub fn ask_by(&self, front: &str, arguments: &[&str]) -> Result<Answer> {
        Answer::of(&mut self.command(self.user, front, arguments))
    }

    /// Returns the JSON of `status`.
    pub fn status(&self) -> Result<Value> {
        let answer = self.ask(&["status", "-o", "json"])?;
        ensure!(answer.code == Some(0), "status: exit code {:?}: {}", answer.code, answer.err.trim());
        serde_json::from_str(&answer.out).with_context(|| format!("status: {:?}", answer.out))
    }

    /// Returns the database's part of `status`; null without one.
    pub fn database(&self, id: &str) -> Result<Value> {
        self.status().map(|status| database_of(&status, id).clone())
    }

    /// Returns the bytes that a command of the agent, run as the agent's own user, writes to a terminal of this size;
    /// `NO_COLOR` is set unless `colour`. A command that takes the whole screen is left by `q` once it has had the time
    /// to refresh.
    ///
    /// # Errors
    /// When the command cannot be started, or runs longer than a minute.
    pub fn show(&self, arguments: &[&str], (columns, lines): (u16, u16), colour: bool) -> Result<Vec<u8>> {
        let (program, config) = (self.program.display(), self.config());
        let (config, arguments) = (config.display(), arguments.join(" "));
        let line = format!("stty cols {columns} rows {lines}; {program} {arguments} --config {config}");
        let mut command = self.user.command(&self.host, "timeout");
        command.args(["60", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
        command.env("TERM", "xterm-256color").env("NO_COLOR", if colour { "" } else { "1" });
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{line}: not started"))?;
        let mut keys = child.stdin.take().context("script: no input")?;
        let mut screen = child.stdout.take().context("script: no output")?;
        let (mut shown, mut part, mut is_left) = (Vec::new(), [0; 4096], false);
        loop {
            let length = screen.read(&mut part)?;
            if length == 0 {
                break;
            }
            shown.extend_from_slice(&part[..length]);
            if !is_left && shown.windows(WHOLE_SCREEN.len()).any(|bytes| bytes == WHOLE_SCREEN) {
                is_left = true;
                sleep(REFRESHED);
                keys.write_all(b"q")?;
            }
        }
        let status = child.wait()?;
        ensure!(status.code() != Some(TIMED_OUT), "{line}: not ended after 60 s");
        Ok(shown)
    }

    /// Types lines into an interactive shell of a user, in the home's directory, with the agent's program in its `PATH`.
    /// Returns the bytes on the terminal. The last line must end the shell.
    ///
    /// # Errors
    /// When the shell cannot be started, or runs longer than a minute.
    pub fn type_into(&self, user: User, shell: &str, lines: &[String]) -> Result<Vec<u8>> {
        let path = std::env::var("PATH").unwrap_or_default();
        // The shell that script(1) starts removes the prompt from its environment.
        let line = format!("exec env PS1='{PROMPT}' {shell}");
        let mut command = user.command(&self.host, "timeout");
        command.args(["60", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
        command.current_dir(&self.dir).env("PATH", format!("{}:{path}", self.dir.display()));
        command.env("HOME", &self.dir).env("TERM", "xterm");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut keys = child.stdin.take().context("script: no input")?;
        let mut screen = child.stdout.take().context("script: no output")?;
        let (mut shown, mut part, mut is_ready) = (Vec::new(), [0; 4096], false);
        loop {
            let length = screen.read(&mut part)?;
            if length == 0 {
                break;
            }
            shown.extend_from_slice(&part[..length]);
            if !is_ready && shown.windows(PROMPT.len()).any(|bytes| bytes == PROMPT.as_bytes()) {
                is_ready = true;
                lines.iter().try_for_each(|line| keys.write_all(line.as_bytes()))?;
            }
        }
        let shown_text = String::from_utf8_lossy(&shown);
        ensure!(child.wait()?.code() != Some(TIMED_OUT), "{shell}: not ended after 60 s: {shown_text}");
        Ok(shown)
    }

    /// Bind-mounts the program at a path that every user can reach.
    fn bind_program(&self, program: &Path) -> Result<()> {
        fs::File::create_new(&self.program)?;
        mount(Some(program), &self.program, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("{}: the agent's program is not there", program.display()))
    }

    fn replace(&self, path: &Path, text: &str) -> Result<Instant> {
        let hidden = path.with_file_name(".new");
        fs::write(&hidden, text)?;
        fs::rename(&hidden, path)?;
        Ok(Instant::now())
    }

    fn config_text(&self, settings: &Settings<'_>) -> String {
        let dir = self.dir.display();
        format!(
            "interfaces: [{}]\n\
             xdp_mode: {}\n\
             rules_dir: {dir}/rules.d\n\
             managed_ranges: {dir}/managed-ranges.yaml\n\
             state_dir: {dir}/state\n\
             bpffs_dir: {}\n\
             node_name: {}\n\
             listen: [unix:{dir}/http.sock]\n\
             control_socket: {dir}/control.sock\n\
             guarded_ports: [{}]\n\
             {}",
            settings.interfaces.join(", "),
            settings.xdp_mode,
            self.pins.display(),
            self.host.name(),
            settings.guarded_ports.join(", "),
            settings.more,
        )
    }
}
