//! The programs of Kubernetes, built once from Debian's source package with Debian's Go, without the network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use xshell::{Cmd, Shell, cmd};

use super::packages::Unpacked;
use crate::apt::Apt;
use crate::run::say;

const SOURCE: &str = "kubernetes";
const GO: &[&str] = &["golang-1.19-go", "golang-1.19-src"];
/// Root of the Go packages above, below the directory in which they are unpacked.
const GO_ROOT: &str = "usr/lib/go-1.19";
const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];
const IMPORT_PATH: &str = "k8s.io/kubernetes";
/// Variable of the version that the programs report.
const VERSION: &str = "k8s.io/kubernetes/vendor/k8s.io/component-base/version.gitVersion";
const OPENAPI_GENERATOR: &str = "./vendor/k8s.io/kube-openapi/cmd/openapi-gen";
/// Directories with API types, and parts of paths of those that are no part of the API server.
const API_TYPES: [&str; 3] = ["pkg", "vendor/k8s.io", "staging/src/k8s.io"];
const NOT_SERVED: [&str; 5] =
    ["/code-generator/", "/sample-apiserver/", "/kube-openapi/", "zz_generated", "_test.go"];

/// Returns the programs, as a package with `usr/bin`; builds them below `dir` unless they are cached.
pub fn programs(sh: &Shell, apt: &Apt<'_>, dir: &Path) -> Result<Unpacked> {
    let version = apt.source_version(SOURCE)?;
    let release = upstream(&version).to_owned();
    Unpacked::cached(sh, dir, (SOURCE, version), |root| {
        say(format_args!("building Kubernetes {release} from source; once, about ten minutes"));
        let scratch = dir.join("build");
        sh.remove_path(&scratch)?;
        let began = Instant::now();
        let build = Build::unpacked(sh, apt, &scratch)?;
        build.generate_openapi()?;
        let bin = sh.create_dir(root.join("usr/bin"))?;
        let version = format!("-s -w -X {VERSION}=v{release}");
        let packages = PROGRAMS.map(|program| format!("./cmd/{program}"));
        build.go().args(["build", "-ldflags", &version, "-o"]).arg(bin).args(packages).run()?;
        say(format_args!("built Kubernetes in {} s", began.elapsed().as_secs()));
        Ok(sh.remove_path(&scratch)?)
    })
}

/// Source and compiler in a scratch directory.
struct Build<'a> {
    sh: Shell,
    scratch: &'a Path,
}

impl<'a> Build<'a> {
    fn unpacked(sh: &Shell, apt: &Apt<'_>, scratch: &'a Path) -> Result<Self> {
        apt.unpack(GO, &scratch.join("go"))?;
        let source = scratch.join("path/src").join(IMPORT_PATH);
        sh.create_dir(source.parent().context("source: no parent directory")?)?;
        apt.unpack_source(SOURCE, &source)?;
        let sh = sh.clone();
        sh.change_dir(source);
        Ok(Self { sh, scratch })
    }

    /// Returns a command of the Go tool in the source tree, with its vendored dependencies only.
    fn go(&self) -> Cmd<'_> {
        let root = self.scratch.join("go").join(GO_ROOT);
        let go = root.join("bin/go");
        let mut command = cmd!(self.sh, "nice -n 10 {go}");
        for (name, value) in
            [("GO111MODULE", "off"), ("GOPROXY", "off"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")]
        {
            command = command.env(name, value);
        }
        let (path, cache) = (self.scratch.join("path"), self.scratch.join("cache"));
        command.env("GOROOT", root).env("GOPATH", path).env("GOCACHE", cache)
    }

    /// Generates the API definitions that the API server publishes; the source package lacks them.
    fn generate_openapi(&self) -> Result<()> {
        let (sh, generator) = (&self.sh, self.scratch.join("openapi-gen"));
        self.go().args(["build", "-o"]).arg(&generator).arg(OPENAPI_GENERATOR).run()?;
        let tag = "+k8s:openapi-gen=";
        let files = cmd!(sh, "grep --recursive --files-with-matches --include=*.go {tag} {API_TYPES...}");
        let packages = api_packages(&files.read()?).join(",");
        let (into, path) = (format!("{IMPORT_PATH}/pkg/generated/openapi"), self.scratch.join("path"));
        let header = "hack/boilerplate/boilerplate.generatego.txt";
        let generate = cmd!(
            sh,
            "{generator} --input-dirs {packages} --output-package {into} --output-file-base zz_generated.openapi
             --go-header-file {header} --report-filename /dev/null"
        );
        let output: PathBuf = path.join("src");
        let goroot = self.scratch.join("go").join(GO_ROOT);
        let generate = generate.arg("--output-base").arg(output).env("GOPATH", path).env("GOROOT", &goroot);
        generate.env("GO111MODULE", "off").env("PATH", goroot.join("bin")).run()?;
        Ok(())
    }
}

/// Returns the import paths of the files with API types; the vendor directory has links to `staging`.
fn api_packages(files: &str) -> Vec<String> {
    let served = files.lines().filter(|file| !NOT_SERVED.iter().any(|part| file.contains(part)));
    let packages: BTreeSet<String> = served
        .filter_map(|file| {
            file.replace("staging/src/", "vendor/").rsplit_once('/').map(|(dir, _)| dir.to_owned())
        })
        .collect();
    packages.into_iter().map(|dir| format!("{IMPORT_PATH}/{dir}")).collect()
}

/// Returns `1.20.2` for `1.20.5+really1.20.2-1.1+deb12u1`.
fn upstream(version: &str) -> &str {
    let version = version.split_once("+really").map_or(version, |(_, really)| really);
    version.split(['-', '+']).next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_version_of_a_package() {
        for (version, release) in
            [("1.20.5+really1.20.2-1.1+deb12u1", "1.20.2"), ("1.32.3+ds-2", "1.32.3"), ("1.20.2", "1.20.2")]
        {
            assert_eq!(upstream(version), release, "{version}");
        }
    }

    #[test]
    fn packages_of_the_api_are_those_that_the_server_serves() {
        let files = "pkg/apis/core/v1/doc.go\nstaging/src/k8s.io/api/core/v1/doc.go\n\
                     staging/src/k8s.io/api/core/v1/types.go\nvendor/k8s.io/code-generator/x/doc.go\n\
                     pkg/apis/core/v1/zz_generated.openapi.go\n";
        let expected = ["k8s.io/kubernetes/pkg/apis/core/v1", "k8s.io/kubernetes/vendor/k8s.io/api/core/v1"];
        assert_eq!(api_packages(files), expected);
    }
}
