//! Runs a pinned program on a synthetic packet (`BPF_PROG_TEST_RUN`): packet in, verdict out.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    TestRunOptions,
    programs::{ProgramInfo, TestRun as _, Xdp},
};
use aya_obj::programs::XdpAttachType;
use firewall_common::{Reason, names};

use super::pins::Pins;
use crate::{
    rules::Protocol,
    sync::{CounterId, Question},
};

const ETHERNET_ADDRESSES: [u8; 12] = [0; 12];
/// Any port that a client may use.
const SOURCE_PORT: u16 = 40_000;
const TTL: u8 = 64;

/// A pinned program of this host. Needs no capability, only the right to open the pin.
#[derive(Debug)]
pub struct Probe {
    name: &'static str,
    program: Xdp,
}

/// The probe program's answer for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub reason: Reason,
    /// The rule counter that decided; 0 when none did.
    pub counter: CounterId,
}

impl Probe {
    /// The probe program: answers with reason and rule counter, and has no side effect.
    ///
    /// # Errors
    /// When it is not pinned below `bpffs_dir` or may not be opened.
    pub fn pinned(bpffs_dir: &Path) -> Result<Self> {
        Self::open(bpffs_dir, names::PROBE)
    }

    /// The probe program of the socket filter: answers for a packet to a listener.
    ///
    /// # Errors
    /// As [`Self::pinned`].
    pub fn at_socket(bpffs_dir: &Path) -> Result<Self> {
        Self::open(bpffs_dir, names::SOCKET_PROBE)
    }

    /// The attached program itself: running it increments its counters.
    ///
    /// # Errors
    /// When it is not pinned below `bpffs_dir` or may not be opened.
    pub fn firewall(bpffs_dir: &Path) -> Result<Self> {
        Self::open(bpffs_dir, names::FIREWALL)
    }

    fn open(bpffs_dir: &Path, name: &'static str) -> Result<Self> {
        let path = Pins::new(bpffs_dir).program(name);
        let program = Xdp::from_pin(&path, XdpAttachType::Interface)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { name, program })
    }

    /// Runs the program on one frame (from the Ethernet header on, at least 14 bytes) and returns its return value.
    /// With `linear`, only that many bytes are in the linear part of the buffer, the rest in a fragment (Linux 5.18).
    ///
    /// # Errors
    /// When the kernel refuses to run it.
    pub fn run(&self, frame: &[u8], linear: Option<usize>) -> Result<u32> {
        // struct xdp_md: data (length of the metadata), data_end (linear length), then four words that stay zero.
        let context = linear.map(|linear| {
            let mut context = [0u8; 24];
            context[4..8].copy_from_slice(&u32::try_from(linear).unwrap_or(u32::MAX).to_ne_bytes());
            context
        });
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: context.as_ref().map(|context| context.as_slice()),
            ..TestRunOptions::new()
        };
        let result = self.program.test_run(options).with_context(|| {
            format!("cannot run program {} on a frame of {} bytes", self.name, frame.len())
        })?;
        Ok(result.return_value)
    }

    /// Runs the probe program on one frame.
    ///
    /// # Errors
    /// When the kernel refuses to run it, or its reason is unknown to this agent.
    pub fn answer(&self, frame: &[u8], linear: Option<usize>) -> Result<Answer> {
        let answer = self.run(frame, linear)?;
        let (reason, counter) = Reason::from_answer(answer)
            .with_context(|| format!("program {}: unknown reason in answer {answer:#x}", self.name))?;
        Ok(Answer { reason, counter: CounterId(counter) })
    }

    /// Runs the probe program on the smallest packet for a question.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn answer_to(&self, question: &Question) -> Result<Answer> {
        self.answer(&frame(question), None)
    }

    /// Instructions that the verifier processed when the program was loaded (Linux 5.16).
    ///
    /// # Errors
    /// When the kernel does not count them.
    pub fn verified_instructions(&self) -> Result<u32> {
        self.info()?.verified_instruction_count().with_context(|| {
            format!("program {}: the kernel does not count verified instructions", self.name)
        })
    }

    /// The kernel's id of the program.
    ///
    /// # Errors
    /// When the kernel returns none.
    pub fn id(&self) -> Result<u32> {
        Ok(self.info()?.id())
    }

    /// The kernel's digest of the program's instructions, 16 hex digits.
    ///
    /// # Errors
    /// When the kernel returns none.
    pub fn tag(&self) -> Result<String> {
        Ok(format!("{:016x}", self.info()?.tag()))
    }

    fn info(&self) -> Result<ProgramInfo> {
        self.program.info().with_context(|| format!("cannot query program {}", self.name))
    }
}

/// The packet for a question, from the Ethernet header on: the smallest TCP SYN or UDP datagram. Checksums stay zero: the
/// program does not verify them.
fn frame(question: &Question) -> Vec<u8> {
    let (protocol, transport) = transport(question);
    let length = u16::try_from(transport.len()).unwrap_or(u16::MAX);
    let mut frame = ETHERNET_ADDRESSES.to_vec();
    match (question.source, question.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0, 0, 0, 0, TTL, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (source, destination) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, TTL]);
            for address in [source, destination] {
                match address {
                    IpAddr::V4(address) => frame.extend(address.to_ipv6_mapped().octets()),
                    IpAddr::V6(address) => frame.extend(address.octets()),
                }
            }
        }
    }
    frame.extend(transport);
    frame
}

fn transport(question: &Question) -> (u8, Vec<u8>) {
    let mut header = SOURCE_PORT.to_be_bytes().to_vec();
    header.extend(question.destination.port.to_be_bytes());
    match question.destination.protocol {
        Protocol::Tcp => {
            // Sequence and acknowledgement numbers, five words of header, SYN, window, checksum, urgent pointer.
            header.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
            (6, header)
        }
        Protocol::Udp => {
            header.extend([0, 8, 0, 0]);
            (17, header)
        }
    }
}
