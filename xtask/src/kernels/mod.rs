//! `cargo xtask kernels`: runs the tests on other kernels than this machine's.

mod fetch;
mod initramfs;
mod machine;
mod plan;
mod report;
mod results;
mod suite;

use anyhow::{Result, ensure};

pub use self::fetch::mirror;

use self::fetch::Kernel;
use self::machine::{Accelerator, Machine, accelerator};
use self::plan::{Built, REFUSAL};
use self::report::Row;
use self::results::{Outcome, judge, judge_refusal, sections, verified};
use self::suite::{Expected, Suite, names};
use crate::debian::Package;
use crate::prepare::prepare;
use crate::run::say;
use crate::workspace::Workspace;

/// Packages that fetch, unpack and boot a kernel.
const TOOLS: &[Package<'_>] = &[
    ("apt", &["apt-get"]),
    ("busybox-static", &["busybox"]),
    ("cpio", &["cpio"]),
    ("dpkg", &["dpkg-deb"]),
    ("kmod", &["depmod"]),
    ("qemu-system-x86", &["qemu-system-x86_64"]),
    ("xz-utils", &["xzcat"]),
];

#[derive(Debug, Default, clap::Args)]
pub struct Arguments {
    /// Boot only the kernels of these Debian releases; the table is stored only when all are booted
    #[arg(value_name = "SUITE", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    suites: Vec<String>,
    /// Accelerator of the guests, instead of KVM where a kernel boots on it and TCG elsewhere
    #[arg(long, value_name = "ACCELERATOR")]
    accel: Option<Accelerator>,
}

/// Fails unless every kernel behaves as expected; stores the table in either case.
pub fn kernels(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let rows = rows(workspace, arguments)?;
    if arguments.suites.is_empty() {
        report::save(&rows, &workspace.root.join("bench/kernels.md"))?;
    }
    judged(&rows)
}

/// As [`kernels`] for all kernels, without storing the table.
pub fn check(workspace: &Workspace) -> Result<()> {
    judged(&rows(workspace, &Arguments::default())?)
}

fn judged(rows: &[Row]) -> Result<()> {
    report::show(rows)?;
    let failed = rows.iter().filter(|row| row.has_failed()).count();
    ensure!(failed == 0, "kernels: {failed} of {} failed", rows.len());
    Ok(())
}

fn rows(workspace: &Workspace, arguments: &Arguments) -> Result<Vec<Row>> {
    prepare(workspace, "kernels", TOOLS)?;
    let built = plan::build(workspace)?;
    let dir = workspace.target.join("kernels");
    let mut accel = arguments.accel;
    let mut rows = Vec::new();
    for suite in Suite::chosen(&arguments.suites) {
        let kernel = fetch::kernel(&workspace.shell, suite, &dir)?;
        let sh = &workspace.shell;
        let machine =
            Machine { sh, kernel: &kernel, dir: sh.create_dir(dir.join("guests").join(suite.name))? };
        let accel = match accel {
            Some(accel) => accel,
            None => *accel.insert(accelerator(&machine)?),
        };
        say(format_args!("kernels: {} of {}, by {}", kernel.release, suite.name, accel.name()));
        let row = row(suite, &machine, &built, accel)?;
        row.print(&machine);
        rows.push(row);
    }
    Ok(rows)
}

/// Boots a kernel and evaluates its results.
fn row(suite: &Suite, machine: &Machine<'_>, built: &Built, accel: Accelerator) -> Result<Row> {
    let Kernel { release, root, .. } = machine.kernel;
    let script = match suite.expected {
        Expected::Supported => plan::tests(root, built, accel)?,
        Expected::Refused => plan::refusal(root, built)?,
    };
    let ran = machine.run(accel, &script)?;
    let sections = sections(&ran.results);
    let find = |name: &str| sections.iter().find(|section| section.name == name);
    let outcomes = match suite.expected {
        Expected::Refused => vec![(REFUSAL.to_owned(), judge_refusal(find(REFUSAL)))],
        Expected::Supported => {
            let judged = |program: &plan::TestProgram| {
                let (tests, left_out) = program.tests(accel);
                Outcome { left_out, ..judge(find(&program.name), &tests) }
            };
            built.programs.iter().map(|program| (program.name.clone(), judged(program))).collect()
        }
    };
    let refusal = find(REFUSAL).map(|section| section.text.trim().to_owned());
    Ok(Row {
        release: release.clone(),
        suite: suite.name,
        accel,
        outcomes,
        verified: verified(&sections, "firewall"),
        refusal,
        ran,
    })
}
