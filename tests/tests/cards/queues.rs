//! Receive queues of a card, by the counters of its driver.

use std::collections::BTreeMap;

use firewall_tests::lab::Host;

/// Returns the number of packets that each queue received; nothing if the driver does not count by queue.
pub fn received(host: &Host, interface: &str) -> BTreeMap<u32, u64> {
    let output = host.command("ethtool").args(["-S", interface]).output().unwrap();
    let mut queues = BTreeMap::new();
    for (queue, count) in String::from_utf8(output.stdout).unwrap().lines().filter_map(counter) {
        *queues.entry(queue).or_default() += count;
    }
    queues
}

/// Reads `rx_queue_0_packets: 7` of igb, `rx0_packets: 7` of virtio-net, `rx_queue_0_xdp_packets: 7` of veth.
fn counter(line: &str) -> Option<(u32, u64)> {
    let (name, count) = line.trim().split_once(": ")?;
    let queue = name.strip_prefix("rx_queue_").or(name.strip_prefix("rx"))?;
    let queue = queue.strip_suffix("_packets")?;
    let queue = queue.strip_suffix("_xdp").unwrap_or(queue);
    Some((queue.parse().ok()?, count.trim().parse().ok()?))
}
