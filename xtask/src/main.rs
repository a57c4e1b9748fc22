//! The project's own commands: `cargo xtask ebpf | test | demo | bench | fuzz | deny | image | package | test-artefacts
//! | reproducible | kernels | tidy | mutants`, one file each.

mod artefacts;
mod bench;
mod copy;
mod debian;
mod demo;
mod deny;
mod ebpf;
mod fuzz;
mod kernels;
mod kubectl;
mod mutants;
mod python;
mod run;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::run::say;
use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Build, test and show the firewall agent")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the toolchain able to build the XDP program: rust-src and a bpf-linker that fits rustc
    Ebpf,
    /// Run every test, then tidy; needs root, since the tests make network namespaces and load programs
    Test(test::Arguments),
    /// Show the agent at work between a PostgreSQL server and three clients; needs root
    Demo(demo::Arguments),
    /// Measure the agent against its promises and keep the figures in bench/; needs root
    Bench(bench::Arguments),
    /// Feed the parsers bytes of any kind and look for a panic, a broken promise, or much time or memory
    Fuzz(fuzz::Arguments),
    /// Check licences, sources and banned crates of the dependencies; builds cargo-deny once, which takes minutes
    Deny,
    /// Build the static program and an image that holds nothing else, and check what is in it; needs root
    Image(artefacts::Arguments),
    /// Build the static program and a Debian package of it, by cargo-deb
    Package(artefacts::Arguments),
    /// Build image and package as the tests take them: from a copy of the sources, without optimisation; needs root
    TestArtefacts,
    /// Build the static program twice, in two places, and demand that it and the XDP program in it are the same
    Reproducible(artefacts::Arguments),
    /// Boot Debian's kernels under QEMU and run the tests in each; keep the table in bench/; needs root
    Kernels(kernels::Arguments),
    /// Check format, lints and the rules of the source tree
    Tidy,
    /// Plant known faults in a copy of the tree and demand that the tests find each of them; needs root
    Mutants(mutants::Arguments),
}

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Ebpf => ebpf::ebpf(&workspace),
        Command::Test(arguments) => test::test(&workspace, &arguments),
        Command::Demo(arguments) => demo::demo(&workspace, &arguments),
        Command::Bench(arguments) => bench::bench(&workspace, &arguments),
        Command::Fuzz(arguments) => fuzz::fuzz(&workspace, &arguments),
        Command::Deny => deny::deny(&workspace),
        Command::Image(arguments) => artefacts::image(&workspace, &arguments),
        Command::Package(arguments) => artefacts::package(&workspace, &arguments),
        Command::TestArtefacts => artefacts::for_tests(&workspace),
        Command::Reproducible(arguments) => artefacts::reproducible(&workspace, &arguments),
        Command::Kernels(arguments) => kernels::kernels(&workspace, &arguments),
        Command::Tidy => tidy::tidy(&workspace),
        Command::Mutants(arguments) => mutants::mutants(&workspace, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use firewall_tests::documents;

    use super::*;

    #[test]
    fn documented_commands_parse() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let commands = documents::commands(root, &["cargo", "xtask"]).unwrap();
        assert!(commands.len() >= 10, "{commands:?}");
        for command in commands {
            let parsed = Cli::try_parse_from(command.words.iter().skip(1));
            assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
        }
        // The control.
        assert!(Cli::try_parse_from(["xtask", "tests"]).is_err());
    }
}
