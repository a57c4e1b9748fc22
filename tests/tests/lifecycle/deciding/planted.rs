//! Changes to the objects that affect verdicts, and a packet path that shows their effect.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytemuck::bytes_of;
use firewall_common::packet::Flow;
use firewall_common::{
    Address, CACHED_ENDPOINTS, CACHED_VERDICTS, CachedEndpoint, CachedVerdict, Endpoint, EndpointKey, IPV4,
    MONITOR, NO_RULE, Reason, names,
};
use firewall_tests::lab::{TestHost, User, cpus, pin_to};

use crate::raw::{Map, ROOM};
use crate::setup::{DENIED, PORT, SERVERS};

const UDP: u8 = 17;
/// Time for a datagram on a veth to arrive.
const ARRIVAL: Duration = Duration::from_millis(200);

/// Path for one datagram at a time from any source to the database, always through the caches of one CPU.
pub struct DatagramPath<'a> {
    host: &'a TestHost,
    cpu: usize,
    target: UdpSocket,
}

impl<'a> DatagramPath<'a> {
    pub fn new(host: &'a TestHost) -> Self {
        let target = host.db.udp(("::", PORT)).unwrap();
        target.set_read_timeout(Some(ARRIVAL)).unwrap();
        Self { host, cpu: cpus().unwrap()[0], target }
    }

    pub fn passes(&self, source: &str) -> bool {
        let client = self.host.outside.udp((source, 0)).unwrap();
        // A veth delivers a packet on the sender's CPU.
        thread::scope(|scope| {
            let (client, cpu) = (&client, self.cpu);
            let send = move || {
                pin_to(cpu).unwrap();
                client.send_to(b"?", (SERVERS[0], PORT)).unwrap();
            };
            scope.spawn(send).join().unwrap();
        });
        self.target.recv_from(&mut [0]).is_ok()
    }
}

pub fn publish_pass_all(host: &TestHost, index: u32) {
    Map::pass_all().publish(&map(host, names::RECORDERS), index).unwrap();
}

/// Fills the verdict cache with entries that allow the denied source.
pub fn forge_verdicts(host: &TestHost) {
    let [source, destination] = [DENIED[0], SERVERS[0]].map(words);
    let flow = Flow { source, destination, port: PORT.to_be(), protocol: UDP, family: IPV4 };
    let answer = Reason::Allowed.answer(NO_RULE);
    let entry = CachedVerdict { flow, answer, generation: generation(host) };
    fill(&map(host, names::VERDICTS), CACHED_VERDICTS, bytes_of(&entry));
}

/// Fills the endpoint cache with entries that put the database in monitor mode.
pub fn forge_endpoints(host: &TestHost) {
    // The program would consult the verdict cache first.
    fill(&map(host, names::VERDICTS), CACHED_VERDICTS, &[0; size_of::<CachedVerdict>()]);
    let key = EndpointKey { address: words(SERVERS[0]), port: PORT.to_be(), protocol: UDP, family: IPV4 };
    let endpoint = Endpoint { slot: 0, mode: MONITOR, default_counter: NO_RULE };
    let entry = CachedEndpoint { key, endpoint, generation: generation(host) };
    fill(&map(host, names::ENDPOINT_CACHE), CACHED_ENDPOINTS, bytes_of(&entry));
}

/// Returns an IPv4 address as the kernel's tables hold it.
fn words(address: &str) -> Address {
    [u32::from_ne_bytes(address.parse::<Ipv4Addr>().unwrap().octets()), 0, 0, 0]
}

/// Writes one value to every entry of a per-CPU array, for every CPU.
fn fill(map: &Map, entries: u32, value: &[u8]) {
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let last = possible.trim().rsplit(['-', ',']).next().unwrap().parse::<usize>().unwrap();
    let values = value.repeat(last + 1);
    for entry in 0..entries {
        map.insert(&number(entry), &values).unwrap();
    }
}

pub fn generation(host: &TestHost) -> u64 {
    let value = map(host, names::GENERATION).look_up(&number(0)).unwrap();
    u64::from_ne_bytes(value[..8].try_into().unwrap())
}

pub fn set_generation(host: &TestHost, number_now: u64) {
    let mut value = [0; ROOM];
    value[..8].copy_from_slice(&number_now.to_ne_bytes());
    map(host, names::GENERATION).insert(&number(0), &value).unwrap();
}

/// Pins an object at the path of another and makes it accessible to the agent.
pub fn replace_pin(object: &Map, path: &Path) {
    fs::remove_file(path).unwrap();
    object.pin(path).unwrap();
    chown(path, Some(User::Unprivileged.id()), None).unwrap();
}

/// Returns the published map with a pin name that starts with `name`.
pub fn inner(host: &TestHost, dir: &str, name: &str) -> Map {
    inner_at(host, dir, name).1
}

pub fn inner_at(host: &TestHost, dir: &str, name: &str) -> (PathBuf, Map) {
    let entries = fs::read_dir(host.home.pins().join(names::LAYOUT).join(dir)).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(name);
    let path = paths.find(is).unwrap_or_else(|| panic!("{dir}/{name}: not pinned"));
    let map = Map::pinned(&path);
    (path, map)
}

pub fn pin(host: &TestHost, name: &str) -> PathBuf {
    host.home.pins().join(names::LAYOUT).join(name)
}

pub fn map(host: &TestHost, name: &str) -> Map {
    Map::pinned(&pin(host, name))
}

pub fn number(slot: u32) -> [u8; ROOM] {
    let mut key = [0; ROOM];
    key[..4].copy_from_slice(&slot.to_ne_bytes());
    key
}
