//! `cargo xtask kernels`: runs the tests on other kernels than this machine's.

mod architecture;
mod card;
mod debian_kernel;
mod emulator;
mod fetch;
mod initramfs;
mod machine;
mod plan;
mod report;
mod results;
mod root;
mod selection;

use std::time::Instant;

use anyhow::{Result, ensure};
use xshell::cmd;

use self::architecture::Architecture;
use self::card::Slot;
use self::debian_kernel::{DebianKernel, Expected};
use self::emulator::Emulator;
use self::machine::{Accelerator, Machine, accelerator};
use self::plan::{Built, REFUSAL};
use self::report::{Row, Run};
use self::results::{Outcome, judge, judge_refusal, printed, sections, verified};
use self::selection::{Selection, names};
use crate::debian::Package;
use crate::prepare::prepare;
use crate::run::say;
use crate::saved_results::SavedResults;
use crate::trees;
use crate::workspace::Workspace;

/// The tables, relative to the root of the workspace.
pub const TABLE: &str = "bench/kernels.md";
/// Start of the line in [`TABLE`] that names the tested data plane, see [`trees::trees`].
pub const DATA_PLANE: &str = "Data plane: ";
/// The sources that a row depends on, besides the tests.
const SOURCES: &[&str] = &["Cargo.lock", "Cargo.toml", "firewall-agent", "firewall-common", "firewall-ebpf"];
/// Packages that fetch and unpack a kernel, and make its initramfs.
const TOOLS: &[Package<'_>] = &[
    ("apt", &["apt-get"]),
    ("busybox-static", &["busybox"]),
    ("cpio", &["cpio"]),
    ("dpkg", &["dpkg-deb"]),
    ("kmod", &["depmod"]),
    ("xz-utils", &["xzcat"]),
];

#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// Kernels to boot, suites and network cards to run there; without a kernel all, without suite and card all of both.
    /// The table is stored only when nothing is named
    #[arg(value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    names: Vec<String>,
    /// Accelerator of the guests, instead of KVM where a kernel boots on it and TCG elsewhere
    #[arg(long, value_name = "ACCELERATOR")]
    accel: Option<Accelerator>,
    /// Boot only the kernels that an earlier run of all, on the same committed sources, lacks or saw fail
    #[arg(long, conflicts_with = "names")]
    resume: bool,
}

/// Fails unless every kernel behaves as expected; stores the table in either case.
pub fn kernels(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if !arguments.names.is_empty() {
        return judged(&boot(workspace, arguments, None)?);
    }
    let sh = &workspace.shell;
    trees::ensure_committed(sh, SOURCES)?;
    let path = sh.create_dir(workspace.target.join("kernels"))?.join("rows.json");
    let mut saved = SavedResults::new(path, trees::trees(sh, "HEAD", SOURCES)?);
    if arguments.resume {
        saved = saved.resumed()?;
    }
    let run = boot(workspace, arguments, Some(&mut saved))?;
    report::save(&run, &state(workspace, &run.object)?, &workspace.root.join(TABLE))?;
    judged(&run)
}

/// Returns the lines that name the tested state: the data plane's sources, its object, and the day.
fn state(workspace: &Workspace, object: &str) -> Result<String> {
    let sh = &workspace.shell;
    let (trees, today) = (trees::trees(sh, "HEAD", trees::DATA_PLANE)?, cmd!(sh, "date --utc +%F").read()?);
    Ok(format!("{DATA_PLANE}{trees}\n\nObject of the XDP program, {today}: `{object}`"))
}

/// As [`kernels`] for all kernels, without storing the table.
pub fn check(workspace: &Workspace) -> Result<()> {
    judged(&boot(workspace, &Arguments::default(), None)?)
}

fn judged(run: &Run) -> Result<()> {
    report::show(run)?;
    let failed = run.rows.iter().filter(|row| row.has_failed()).count();
    ensure!(failed == 0, "kernels: {failed} of {} failed", run.rows.len());
    Ok(())
}

/// Boots the chosen kernels, but for those with a good row in `saved`.
fn boot(
    workspace: &Workspace,
    arguments: &Arguments,
    mut saved: Option<&mut SavedResults<Row>>,
) -> Result<Run> {
    let began = Instant::now();
    prepare(workspace, "kernels", TOOLS)?;
    let selection = Selection::new(&arguments.names);
    let built = plan::build(workspace, &selection)?;
    let dir = workspace.target.join("kernels");
    let sh = &workspace.shell;
    let emulator = Emulator::new(sh, &dir)?;
    let mut accel = arguments.accel;
    let (mut rows, mut earlier) = (Vec::new(), 0);
    for of in &selection.kernels {
        let is_it = |row: &Row| row.name == of.name;
        if let Some(row) = saved.as_ref().and_then(|saved| saved.find(|row| is_it(row) && !row.has_failed()))
        {
            say(format_args!("kernels: {} of {}, from an earlier run", row.kernel, row.name));
            rows.push(row.clone());
            earlier += 1;
            continue;
        }
        let kernel = fetch::kernel(sh, of, &dir)?;
        let root = root::root(sh, of.architecture, &dir)?;
        let machine = Machine {
            sh,
            emulator: &emulator,
            kernel: &kernel,
            slots: if of.has_cards() { Slot::all(&selection.cards) } else { Vec::new() },
            root: &root,
            shared: [&workspace.root, &workspace.target],
            dir: sh.create_dir(dir.join("guests").join(of.name))?,
        };
        let accel = match (of.architecture, accel) {
            (Architecture::Arm64, _) => Accelerator::Tcg,
            (_, Some(accel)) => accel,
            (_, None) => *accel.insert(accelerator(&machine)?),
        };
        say(format_args!("kernels: {} of {}, by {}", kernel.release, of.name, accel.name()));
        let foreign = match of.architecture.target() {
            Some(target) => Some(plan::build_for(workspace, target, &built)?),
            None => None,
        };
        let row = row(of, &machine, foreign.as_ref().unwrap_or(&built), accel)?;
        row.print(&machine);
        if let Some(saved) = &mut saved {
            saved.add(row.clone(), is_it)?;
        }
        rows.push(row);
    }
    Ok(Run { rows, earlier, took: began.elapsed(), object: built.object(sh)? })
}

/// Boots a kernel and evaluates its results.
fn row(of: &DebianKernel, machine: &Machine<'_>, built: &Built, accel: Accelerator) -> Result<Row> {
    let kernel = machine.kernel;
    let steps = plan::steps(built, &machine.slots, accel, of);
    let script = match of.expected {
        Expected::Supported => plan::tests(kernel, built, &steps, accel)?,
        Expected::Refused => plan::refusal(kernel, built)?,
    };
    let ran = machine.run_again(accel, &script)?;
    let sections = sections(&ran.results);
    let find = |name: &str| sections.iter().find(|section| section.name == name);
    let outcomes = match of.expected {
        Expected::Refused => vec![(REFUSAL.to_owned(), judge_refusal(find(REFUSAL)))],
        Expected::Supported => {
            let judged = |step: &plan::Step<'_>| {
                let (tests, left_out) = step.tests();
                Outcome {
                    left_out,
                    note: printed(find(step.name), "card: "),
                    ..judge(find(step.name), &tests)
                }
            };
            steps.iter().map(|step| (step.name.to_owned(), judged(step))).collect()
        }
    };
    Ok(Row {
        kernel: kernel.release.clone(),
        name: of.name.to_owned(),
        accel,
        outcomes,
        verified: verified(&sections, "firewall"),
        refusal: find(REFUSAL).map(|section| section.text.trim().to_owned()),
        ran,
    })
}
