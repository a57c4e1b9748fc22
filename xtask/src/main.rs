//! The project's own commands, `cargo xtask --help` lists them: one file or folder each.

mod apt;
mod artefacts;
mod bench;
mod boot;
mod captures;
mod cargo_tool;
mod cluster;
mod copy;
mod debian;
mod demo;
mod deny;
mod ebpf;
mod fuzz;
mod kernels;
mod kubectl;
mod mutants;
mod prepare;
mod python;
mod run;
mod saved_results;
mod soak;
mod suites;
mod test;
mod tidy;
mod traffic;
mod trees;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use firewall_tests::bench::NOISY;

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
    /// Prepare the toolchain for the XDP program: rust-src and a bpf-linker that matches rustc
    Ebpf,
    /// Run every test, then tidy; needs root, since the tests make network namespaces and load programs
    Test(test::Arguments),
    /// Show the agent at work between a PostgreSQL server and three clients; needs root
    Demo(demo::Arguments),
    /// Measure the agent against its targets and store the figures in bench/; needs root
    Bench(bench::Arguments),
    /// Keep one host with fifty databases under pushes, faults and traffic, and store the report in bench/; needs root
    Soak(soak::Arguments),
    /// Fuzz the parsers for panics, broken invariants, and excessive time or memory
    Fuzz(fuzz::Arguments),
    /// Check licences, sources and banned crates of the dependencies; builds cargo-deny once, which takes minutes
    Deny,
    /// Build the static program and an image that contains only it, and check the image; needs root
    Image(artefacts::Arguments),
    /// Build the static program and a Debian package of it, by cargo-deb
    Package(artefacts::Arguments),
    /// Build image and package for the tests: from a copy of the sources, without optimisation; needs root
    TestArtefacts,
    /// Build the static program twice, in two directories, and require identical programs and XDP objects
    Reproducible(artefacts::Arguments),
    /// Boot Debian's kernels under QEMU and run the tests in each; store the table in bench/; needs root
    Kernels(kernels::Arguments),
    /// Run the shipped manifests on a real one-node Kubernetes in namespaces; store the report in bench/; needs root
    Cluster(cluster::Arguments),
    /// Boot Debian under QEMU with the package installed, under traffic; store the report in bench/; needs root
    Boot(boot::Arguments),
    /// Send the traffic of scanners, generators and captures to a guarded host; store the table in bench/; needs root
    Traffic(traffic::Arguments),
    /// Check format, lints and the rules of the source tree
    Tidy,
    /// Plant known faults in a copy of the tree and require that the tests find each of them; needs root
    Mutants(mutants::Arguments),
}

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            if error.is::<bench::TooNoisy>() { ExitCode::from(NOISY) } else { ExitCode::FAILURE }
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
        Command::Soak(arguments) => soak::soak(&workspace, &arguments),
        Command::Fuzz(arguments) => fuzz::fuzz(&workspace, &arguments),
        Command::Deny => deny::deny(&workspace),
        Command::Image(arguments) => artefacts::image(&workspace, &arguments),
        Command::Package(arguments) => artefacts::package(&workspace, &arguments),
        Command::TestArtefacts => artefacts::for_tests(&workspace),
        Command::Reproducible(arguments) => artefacts::reproducible(&workspace, &arguments),
        Command::Kernels(arguments) => kernels::kernels(&workspace, &arguments),
        Command::Cluster(arguments) => cluster::cluster(&workspace, &arguments),
        Command::Boot(arguments) => boot::boot(&workspace, &arguments),
        Command::Traffic(arguments) => traffic::traffic(&workspace, &arguments),
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
