//! `firewall-agent`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    firewall_agent::cli::main()
}
