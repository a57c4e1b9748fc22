//! `firewall-agent`: entry point; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    firewall_agent::cli::main()
}
