//! Processor architectures of guests.

/// An architecture that QEMU emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// That of this machine, whose programs its guests run.
    Amd64,
    /// Its guests run programs that are compiled for it, with a root of its own.
    Arm64,
}

impl Architecture {
    /// Returns Debian's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns QEMU's program.
    pub fn emulator(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// Returns QEMU's machine.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "q35,hpet=off",
            Self::Arm64 => "virt",
        }
    }

    /// Returns the name of the serial port in a guest.
    pub fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }

    /// Returns rustc's target if it is not that of this machine's programs.
    pub fn target(self) -> Option<&'static str> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some("aarch64-unknown-linux-musl"),
        }
    }
}
