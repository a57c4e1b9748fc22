//! A foreign XDP program on the database host's interface.

use std::fs;
use std::path::Path;

use firewall_agent::bpf::{Capacity, Pins, Programs, attach};
use firewall_agent::config::XdpMode;

use firewall_tests::lab::{INTERFACE, TestHost};

/// Attached until [`Self::detach`].
pub struct Foreign {
    /// Kernel program id.
    pub program: u32,
    pins: Pins,
    programs: Programs,
}

impl Foreign {
    pub fn attach(host: &TestHost) -> Self {
        let pins = Pins::new(Path::new("/sys/fs/bpf/foreign"));
        pins.create().unwrap();
        let mut programs = Programs::load(&pins, Capacity::for_databases(1)).unwrap();
        let _inside = host.db.enter().unwrap();
        let (link, _) =
            attach(&mut programs, &pins, &[INTERFACE], XdpMode::Native).unwrap().remove(0).unwrap();
        Self { program: link.program, pins, programs }
    }

    pub fn detach(self) {
        drop(self.programs);
        fs::remove_file(self.pins.link(INTERFACE)).unwrap();
    }
}
