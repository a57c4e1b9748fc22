//! A foreign XDP program on an interface of a host.

use std::fs;
use std::path::{Path, PathBuf};

use firewall_agent::bpf::{MapSizes, Pins, Programs, attach};
use firewall_agent::config::XdpMode;

use firewall_tests::lab::Host;

/// Attached until [`Self::detach`].
pub struct Foreign {
    /// Kernel program id.
    #[allow(dead_code, reason = "one of the test targets reads it")]
    pub program: u32,
    pin: PathBuf,
    programs: Programs,
}

impl Foreign {
    pub fn attach(host: &Host, interface: &str) -> Self {
        let pins = Pins::new(Path::new("/sys/fs/bpf/foreign"));
        pins.create().unwrap();
        let mut programs = Programs::load(&pins, MapSizes::for_databases(1)).unwrap();
        let _inside = host.enter().unwrap();
        let (link, _) =
            attach(&mut programs, &pins, &[interface], XdpMode::Native).unwrap().remove(0).unwrap();
        Self { program: link.program, pin: pins.link(interface), programs }
    }

    pub fn detach(self) {
        drop(self.programs);
        fs::remove_file(self.pin).unwrap();
    }
}
