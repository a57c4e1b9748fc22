//! Rule: the tables of kernels and network cards are of a data plane at most [`LIMIT`] changes old.
//!
//! The tables name the git trees of the tested data plane. A change is a commit that touches it.

use anyhow::Result;
use fs_err as fs;
use xshell::{Shell, cmd};

use crate::kernels::{DATA_PLANE, TABLE};
use crate::run::say;
use crate::trees;
use crate::workspace::Workspace;

/// Maximum number of changes since the tested state.
const LIMIT: usize = 30;

/// Returns the finding, if there is one.
pub fn check(workspace: &Workspace) -> Result<Option<String>> {
    let table = fs::read_to_string(workspace.root.join(TABLE))?;
    let history = History::read(&workspace.shell)?;
    Ok(match age(&table, history.as_ref()) {
        Age::Changes(count) => {
            say(format_args!("{TABLE}: {count} changes of the data plane since its run, at most {LIMIT}"));
            None
        }
        Age::Unknown(why) => {
            say(format_args!("{TABLE}: age not checked, {why}"));
            None
        }
        Age::TooOld => Some(format!(
            "{TABLE}: its data plane is none of the last {LIMIT} changes; run cargo xtask kernels"
        )),
        Age::Unnamed => Some(format!("{TABLE}: no line {DATA_PLANE:?}; run cargo xtask kernels")),
    })
}

/// The age of the tables.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    /// Number of changes since the run.
    Changes(usize),
    TooOld,
    /// The tables name no data plane.
    Unnamed,
    /// The reason for which the age is unknown.
    Unknown(&'static str),
}

/// The states of the data plane, as far as git has them.
#[derive(Debug)]
struct History {
    /// Trees after each change, newest first, at most those of the last `LIMIT` changes and the one before.
    states: Vec<String>,
    /// The clone lacks older commits.
    is_shallow: bool,
}

impl History {
    /// Reads the history of the current commit; `None` outside of a git repository.
    fn read(sh: &Shell) -> Result<Option<Self>> {
        let Ok(shallow) = cmd!(sh, "git rev-parse --is-shallow-repository").ignore_stderr().read() else {
            return Ok(None);
        };
        let count = (LIMIT + 1).to_string();
        let commits = cmd!(sh, "git rev-list -n {count} HEAD --").args(trees::DATA_PLANE).read()?;
        let states = commits
            .lines()
            .map(|commit| trees::trees(sh, commit, trees::DATA_PLANE))
            .collect::<Result<_>>()?;
        Ok(Some(Self { states, is_shallow: shallow == "true" }))
    }
}

fn age(table: &str, history: Option<&History>) -> Age {
    let Some(tested) = table.lines().find_map(|line| line.strip_prefix(DATA_PLANE)) else {
        return Age::Unnamed;
    };
    let Some(history) = history else { return Age::Unknown("this is no git repository") };
    match history.states.iter().position(|state| state == tested) {
        Some(count) => Age::Changes(count),
        None if history.is_shallow && history.states.len() <= LIMIT => {
            Age::Unknown("this clone lacks older commits")
        }
        None => Age::TooOld,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A repository with one file of each crate, and the number of changes as its content.
    fn repository(dir: &Path, changes: usize) -> Shell {
        let sh = Shell::new().unwrap();
        sh.change_dir(dir);
        sh.set_var("GIT_CEILING_DIRECTORIES", dir.parent().unwrap());
        cmd!(sh, "git init --quiet").run().unwrap();
        cmd!(sh, "git config user.name test").run().unwrap();
        cmd!(sh, "git config user.email test@example.org").run().unwrap();
        (0..changes).for_each(|number| change(&sh, number));
        sh
    }

    fn change(sh: &Shell, number: usize) {
        for name in trees::DATA_PLANE {
            sh.write_file(Path::new(name).join("lib.rs"), number.to_string()).unwrap();
        }
        commit(sh);
    }

    fn commit(sh: &Shell) {
        cmd!(sh, "git add --all").run().unwrap();
        cmd!(sh, "git commit --quiet --message change").run().unwrap();
    }

    fn state(sh: &Shell, commit: &str) -> String {
        trees::trees(sh, commit, trees::DATA_PLANE).unwrap()
    }

    fn table(trees: &str) -> String {
        format!("# Other kernels\n\n{DATA_PLANE}{trees}\n")
    }

    fn age_in(sh: &Shell, table: &str) -> Age {
        age(table, History::read(sh).unwrap().as_ref())
    }

    #[test]
    fn table_is_too_old_after_more_changes_than_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let sh = repository(dir.path(), 3);
        let table = table(&state(&sh, "HEAD"));
        assert_eq!(age_in(&sh, &table), Age::Changes(0));
        // Other commits are no changes.
        sh.write_file("README.md", "text").unwrap();
        commit(&sh);
        assert_eq!(age_in(&sh, &table), Age::Changes(0));
        (10..10 + LIMIT).for_each(|number| change(&sh, number));
        assert_eq!(age_in(&sh, &table), Age::Changes(LIMIT));
        change(&sh, 100);
        assert_eq!(age_in(&sh, &table), Age::TooOld);
        // The same state again, as by a revert.
        change(&sh, 2);
        assert_eq!(age_in(&sh, &table), Age::Changes(0));
    }

    #[test]
    fn unknown_states_and_tables_without_a_state_are_findings() {
        let dir = tempfile::tempdir().unwrap();
        let sh = repository(dir.path(), 2);
        assert_eq!(age_in(&sh, &table("firewall-common 0, firewall-ebpf 0")), Age::TooOld);
        assert_eq!(age_in(&sh, "# Other kernels\n"), Age::Unnamed);
    }

    #[test]
    fn shallow_clone_and_archive_are_not_checked_unless_they_have_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, shallow) = (dir.path().join("whole"), dir.path().join("shallow"));
        std::fs::create_dir(&whole).unwrap();
        let sh = repository(&whole, 3);
        let (old, new) = (table(&state(&sh, "HEAD~1")), table(&state(&sh, "HEAD")));
        let url = format!("file://{}", whole.display());
        cmd!(sh, "git clone --quiet --depth 1 {url} {shallow}").run().unwrap();
        sh.change_dir(&shallow);
        assert_eq!(age_in(&sh, &new), Age::Changes(0));
        assert!(matches!(age_in(&sh, &old), Age::Unknown(_)));
        std::fs::remove_dir_all(shallow.join(".git")).unwrap();
        sh.set_var("GIT_CEILING_DIRECTORIES", dir.path());
        assert!(matches!(age_in(&sh, &old), Age::Unknown(_)));
    }
}
