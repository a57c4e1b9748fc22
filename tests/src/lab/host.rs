//! A host of a lab: a named network namespace.

use std::fmt::Debug;
use std::fs::{self, File};
use std::marker::PhantomData;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::answer::output_of;
use super::namespace;

/// Interfaces are ready at once: duplicate address detection is off, also for later ones.
const SETTINGS: &[(&str, &str)] = &[
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    net: Arc<OwnedFd>,
}

impl Host {
    pub(super) fn new(name: &str) -> Result<Self> {
        // A separate thread creates the namespace, since a thread cannot undo its own unshare.
        let made = thread::spawn(|| -> Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET).context("no network namespace")?;
            namespace("net")
        });
        let net = made.join().map_err(|_| anyhow!("its thread panicked"))??;
        let host = Self { name: name.to_owned(), net: Arc::new(net) };
        host.publish_name()?;
        for (setting, value) in SETTINGS {
            host.set(setting, value)?;
        }
        host.run("ip link set lo up")?;
        Ok(host)
    }

    /// Returns a namespace that is not of a lab.
    pub(super) fn outside(net: OwnedFd) -> Self {
        Self { name: "outside the lab".to_owned(), net: Arc::new(net) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a command that runs on this host and is killed when the thread that started it ends.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let net = Arc::clone(&self.net);
        let mut command = Command::new(program);
        // SAFETY: the closure makes two system calls; it neither allocates nor takes a lock after the fork.
        unsafe {
            command.pre_exec(move || {
                setns(net.as_fd(), CloneFlags::CLONE_NEWNET)?;
                set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            })
        };
        command
    }

    /// Runs a command line, split at spaces, to its end and returns its standard output.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("command line: empty")?;
        output_of(self.command(program).args(words)).with_context(|| format!("host {}", self.name))
    }

    /// Moves the current thread to this host until the guard is dropped; sockets opened meanwhile stay on this host.
    pub fn enter(&self) -> Result<Inside> {
        let before = namespace("net")?;
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("{}: not entered", self.name))?;
        Ok(Inside { before, not_send: PhantomData })
    }

    /// Sets a file below `/proc/sys` for this host.
    pub fn set(&self, setting: &str, value: &str) -> Result<()> {
        let _inside = self.enter()?;
        let path = format!("/proc/sys/{setting}");
        fs::write(&path, value).with_context(|| format!("{}: {path}: {value:?} not written", self.name))
    }

    /// Makes this host a router of both families.
    pub fn forward(&self) -> Result<()> {
        self.set("net/ipv4/ip_forward", "1")?;
        self.set("net/ipv6/conf/all/forwarding", "1")
    }

    /// Adds default routes through these gateways, for one family or both.
    pub fn route_by(&self, gateways: &[&str]) -> Result<()> {
        for gateway in gateways {
            let family = if gateway.contains(':') { "-6" } else { "-4" };
            self.run(&format!("ip {family} route add default via {gateway}"))?;
        }
        Ok(())
    }

    /// Returns the MAC address of an interface, in wire order.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let _inside = self.enter()?;
        getifaddrs()?
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| entry.address?.as_link_addr()?.addr())
            .with_context(|| {
                format!("{}: {interface}: no such interface, or it has no MAC address", self.name)
            })
    }

    /// Returns the name of the interface with this MAC address, in wire order.
    pub(super) fn interface_of(&self, mac: [u8; 6]) -> Result<Option<String>> {
        let _inside = self.enter()?;
        let mut found = getifaddrs()?
            .filter(|entry| entry.address.and_then(|address| address.as_link_addr()?.addr()) == Some(mac));
        Ok(found.next().map(|entry| entry.interface_name))
    }

    /// Opens a UDP socket of this host.
    pub fn udp(&self, at: impl ToSocketAddrs + Debug) -> Result<UdpSocket> {
        let _inside = self.enter()?;
        UdpSocket::bind(&at).with_context(|| format!("{}: {at:?}: no socket", self.name))
    }

    /// Opens a TCP listener of this host.
    pub fn listen(&self, at: impl ToSocketAddrs + Debug) -> Result<TcpListener> {
        let _inside = self.enter()?;
        TcpListener::bind(&at).with_context(|| format!("{}: {at:?}: no listener", self.name))
    }

    /// Opens a TCP connection from this host; fails after `wait`.
    pub fn connect(&self, to: impl ToSocketAddrs, wait: Duration) -> Result<TcpStream> {
        let _inside = self.enter()?;
        let to = to.to_socket_addrs()?.next().context("no address to connect to")?;
        TcpStream::connect_timeout(&to, wait).with_context(|| format!("{} → {to}", self.name))
    }

    /// Makes this host known to `ip -n NAME` and `ip link … netns NAME`.
    fn publish_name(&self) -> Result<()> {
        let _inside = self.enter()?;
        let path = format!("/run/netns/{}", self.name);
        File::create_new(&path).with_context(|| format!("{path}: a host of this name exists"))?;
        mount(Some("/proc/thread-self/ns/net"), path.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .context(path)
    }
}

/// Guard of a thread on a host; dropping it moves the thread back.
#[derive(Debug)]
pub struct Inside {
    before: OwnedFd,
    not_send: PhantomData<*const ()>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Returning to an open namespace fails only without root, and without root `enter` would have failed.
        let _ = setns(self.before.as_fd(), CloneFlags::CLONE_NEWNET);
    }
}
