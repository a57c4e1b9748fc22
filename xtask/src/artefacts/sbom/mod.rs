//! The software bill of materials, CycloneDX as JSON: every package linked into the program and into the embedded XDP
//! program, without build-time packages (procedural macros, build scripts, tests). It is identical for every build of
//! the same sources.
//!
//! cargo-cyclonedx lists procedural macros as required at run time, unites the features of the whole workspace, and
//! writes one list per package and target: the two programs' lists would have to be filtered and merged here anyway.

mod linked;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::Deserialize;
use serde_json::{Value, json};
use xshell::cmd;

use self::linked::{Linked, Part};
use super::Artefacts;

/// `Cargo.lock`.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    /// SHA-256 of a package from a registry.
    checksum: Option<String>,
}

const BPF_TARGET: &str = "bpfel-unknown-none";

impl Artefacts<'_> {
    /// Writes the bill of materials of the program.
    pub(super) fn sbom(&self, program: &Path) -> Result<PathBuf> {
        let path = self.dir.join("firewall-agent.cdx.json");
        let text = serde_json::to_string_pretty(&self.bom(program)?)? + "\n";
        fs::write(&path, text)?;
        Ok(path)
    }

    fn bom(&self, program: &Path) -> Result<Value> {
        let mut linked = Linked::default();
        let target = self.target();
        let agent = Part { name: "agent", package: "firewall-agent", target: &target, features: "" };
        linked.add(&self.sources, agent)?;
        // Both builds of the object are embedded; the packages of the one with `packet-log` include those of the other.
        let features = "packet-log";
        let xdp = Part { name: "xdp", package: "firewall-ebpf", target: BPF_TARGET, features };
        linked.add(&self.sources, xdp)?;
        // `cargo tree` prints no checksums.
        let lock: Lock = toml::from_str(&fs::read_to_string(self.sources.root.join("Cargo.lock"))?)?;
        let locked = lock.package.into_iter().map(|one| ((one.name, one.version), one.checksum));
        let checksums: BTreeMap<_, _> = locked.collect();
        let checksum = |key| checksums.get(key).and_then(Option::as_ref);
        let mut components: Vec<Value> =
            linked.packages.iter().map(|(key, package)| package.component(key, checksum(key))).collect();
        components.extend(self.toolchain()?);
        let mut dependencies = linked.dependencies();
        let agent = dependencies.iter_mut().find(|one| one["ref"] == linked::reference("firewall-agent"));
        if let Some(needs) = agent.and_then(|agent| agent["dependsOn"].as_array_mut()) {
            needs.extend(["rust-std", "musl", "firewall-ebpf"].map(|name| json!(linked::reference(name))));
        }
        let facts = BTreeMap::from([
            ("firewall:target", self.target()),
            ("firewall:profile", self.profile.name().to_owned()),
            ("firewall:revision", self.revision.clone()),
            ("firewall:object_sha256", self.object_digest()?),
        ]);
        let facts = facts.iter().map(|(name, value)| json!({"name": name, "value": value}));
        Ok(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": "firewall-agent-program",
                    "name": "firewall-agent",
                    "version": env!("CARGO_PKG_VERSION"),
                    "hashes": [{"alg": "SHA-256", "content": self.sha256(program)?}],
                    "properties": facts.collect::<Vec<_>>(),
                },
            },
            "components": components,
            "dependencies": dependencies,
        }))
    }

    /// Returns the components that come with rustc.
    fn toolchain(&self) -> Result<[Value; 2]> {
        let verbose = cmd!(self.sources.shell, "rustc -vV").read()?;
        let release = verbose.lines().find_map(|line| line.strip_prefix("release: "));
        let release = release.with_context(|| format!("rustc -vV: no release in {verbose:?}"))?;
        Ok([
            json!({
                "type": "library",
                "bom-ref": linked::reference("rust-std"),
                "name": "rust-std",
                "version": release,
                "description": "core and compiler-builtins are in the XDP program, too",
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
                "purl": format!("pkg:generic/rust-std@{release}"),
            }),
            json!({
                "type": "library",
                "bom-ref": linked::reference("musl"),
                "name": "musl",
                "description": format!("the C library that comes with Rust {release} for this target"),
                "licenses": [{"expression": "MIT"}],
                "purl": "pkg:generic/musl",
            }),
        ])
    }

    /// Returns the SHA-256 of the embedded object, from the build script's message to cargo.
    pub(super) fn object_digest(&self) -> Result<String> {
        let path = self.dir.join("compiled.json");
        let text = fs::read_to_string(&path)?;
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut digests = messages.filter_map(|message| {
            let pairs = message["env"].as_array()?.iter();
            let digest =
                pairs.filter(|pair| pair[0] == "FIREWALL_OBJECT_SHA256").find_map(|pair| pair[1].as_str());
            digest.map(str::to_owned)
        });
        digests.next_back().with_context(|| format!("{}: contains no object digest", path.display()))
    }

    pub(super) fn sha256(&self, file: &Path) -> Result<String> {
        let line = cmd!(self.sources.shell, "sha256sum {file}").read()?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    }
}
