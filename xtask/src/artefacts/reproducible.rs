//! `cargo xtask reproducible`: two clean builds, in two directories.

use anyhow::{Result, ensure};

use super::program::Profile;
use super::{Arguments, Artefacts};
use crate::copy::copy;
use crate::run::say;
use crate::workspace::Workspace;

/// Builds the program twice, from copies of the sources at paths of different length and depth, each into an empty
/// target directory; requires that the embedded XDP objects, and the programs, are identical.
pub fn reproducible(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let dir = workspace.target.join("reproducible");
    workspace.shell.remove_path(&dir)?;
    let mut builds = Vec::new();
    for name in ["one", "another/further/down"] {
        let build_dir = dir.join(name);
        let sources = Workspace::at(build_dir.join("source"), build_dir.join("build"))?;
        copy(workspace, &sources.root)?;
        builds.push(Artefacts::new(workspace, sources, build_dir, &arguments.arch, Profile::Release)?);
    }
    let mut found = Vec::new();
    for build in builds {
        let program = build.sha256(&build.program()?)?;
        let object = build.object_digest()?;
        say(format_args!("{}: object {object}, program {program}", build.dir.display()));
        found.push((object, program));
        workspace.shell.remove_path(&build.sources.target)?;
    }
    ensure!(found[0].0 == found[1].0, "two clean builds: the objects of the XDP program differ");
    ensure!(found[0].1 == found[1].1, "two clean builds: the programs differ");
    say(format_args!("two clean builds: object and program are the same to the byte"));
    Ok(())
}
