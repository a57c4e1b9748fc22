use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::*;

fn ignored(names: &[&str]) -> Ignored {
    let mut ignored = Ignored::default();
    names.iter().for_each(|name| ignored.add(Path::new(name)));
    ignored
}

struct RulesDir {
    dir: tempfile::TempDir,
    known: BTreeSet<PathBuf>,
}

impl RulesDir {
    fn new(known: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let known = known.iter().map(|name| dir.path().join(name)).collect();
        Self { dir, known }
    }

    fn write(&self, name: &str, bytes: &str) {
        fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn write_hole(&self, name: &str, bytes: u64) {
        File::create(self.dir.path().join(name)).unwrap().set_len(bytes).unwrap();
    }

    fn scan(&self, most_files: usize, check: Option<Check<'_>>) -> ScannedFiles {
        self.scan_with(&mut ReadCache::default(), most_files, check)
    }

    fn scan_with(&self, cache: &mut ReadCache, most_files: usize, check: Option<Check<'_>>) -> ScannedFiles {
        let (rules_dir, ranges) = (self.dir.path(), self.dir.path().join("none"));
        scan(
            &ScanRequest {
                rules_dir,
                managed_ranges: &ranges,
                blocked_ranges: Path::new(""),
                known: &self.known,
                most_files,
            },
            cache,
            check,
        )
    }
}

/// Names of the files with retained bytes.
fn retained_names(snapshot: &ScannedFiles) -> Vec<&str> {
    let retained = snapshot.rules.iter().filter(|(_, seen)| seen.content.is_ok());
    retained.map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect()
}

#[test]
fn file_count_limit_reads_known_files_first_and_names_the_rest() {
    let rules = RulesDir::new(&["z.yaml"]);
    for name in ["f.yaml", "e.yaml", "d.yaml", "z.yaml", "c.yaml", "b.yaml", "a.yaml"] {
        rules.write(name, name);
    }
    let snapshot = rules.scan(2, None);
    assert_eq!(retained_names(&snapshot), ["a.yaml", "z.yaml"]);
    let refused: Vec<&Rejection> =
        snapshot.rules.values().filter_map(|seen| seen.content.as_ref().err()).collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(
        refused.iter().all(|why| why.message.starts_with("not read: more than 2 rule files")),
        "{refused:?}"
    );
    assert!(snapshot.unlisted.as_ref().unwrap().ends_with(": 2 more files are not read"));
    let all = rules.scan(7, None);
    assert_eq!((retained_names(&all).len(), all.unlisted), (7, None), "the control");
}

#[test]
fn byte_limit_reads_known_files_first_and_names_the_rest() {
    let rules = RulesDir::new(&["z.yaml"]);
    rules.write("z.yaml", "known");
    for number in 10..30 {
        rules.write_hole(&format!("{number}.yaml"), 4 << 20);
    }
    let snapshot = rules.scan(1024, None);
    let bytes: usize = snapshot.rules.values().flat_map(|seen| &seen.content).map(|bytes| bytes.len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes}");
    let names = retained_names(&snapshot);
    assert_eq!((names.len(), names[0], names[names.len() - 1]), (16, "10.yaml", "z.yaml"));
    let last = &snapshot.rules[&rules.dir.path().join("29.yaml")];
    assert!(last.content.as_ref().unwrap_err().message.starts_with("not read: more than 64 MiB"), "{last:?}");
}

#[test]
fn file_that_fails_the_check_is_not_retained() {
    let rules = RulesDir::new(&[]);
    for name in ["good.yaml", "good.yaml.minisig", "bad.yaml"] {
        rules.write(name, name);
    }
    let unsigned = || Rejection::named(Cause::Unsigned, "by no key");
    let mut check =
        |_: &FileContent, signature: &Signature| signature.clone()?.map(drop).ok_or_else(unsigned);
    let mut cache = ReadCache::default();
    let snapshot = rules.scan_with(&mut cache, 1024, Some(&mut check));
    assert_eq!(retained_names(&snapshot), ["good.yaml"]);
    let cached = format!("{cache:?}");
    assert!(cached.contains("good.yaml") && !cached.contains("bad.yaml"), "{cached}");
    assert_eq!(snapshot.rules[&rules.dir.path().join("bad.yaml")].content, Err(unsigned()));
}

#[test]
fn different_snapshots_have_different_marks() {
    let seen = ScannedFile {
        content: Ok(b"a".to_vec().into()),
        signature: Ok(None),
        visible_at: Timestamp::UNIX_EPOCH,
    };
    let with = |path: &str, seen: ScannedFile| ScannedFiles {
        rules: BTreeMap::from([(path.into(), seen)]),
        ..ScannedFiles::default()
    };
    let later = Timestamp::from_second(1).unwrap();
    let all = [
        ScannedFiles::default(),
        ScannedFiles { unlisted: Some("a".to_owned()), ..ScannedFiles::default() },
        ScannedFiles { ranges: Some(seen.clone()), ..ScannedFiles::default() },
        ScannedFiles { ignored: ignored(&["a.yml"]), ..ScannedFiles::default() },
        ScannedFiles { ignored: ignored(&["b.yml"]), ..ScannedFiles::default() },
        with("a", seen.clone()),
        with("b", seen.clone()),
        with("a", ScannedFile { content: Ok(b"b".to_vec().into()), ..seen.clone() }),
        with("a", ScannedFile { content: Err(Rejection::new(Cause::Unreadable, "b")), ..seen.clone() }),
        with("a", ScannedFile { signature: Ok(Some(Vec::new())), ..seen.clone() }),
        with("a", ScannedFile { signature: Err(Rejection::new(Cause::Unreadable, "a")), ..seen.clone() }),
        with("a", ScannedFile { visible_at: later, ..seen }),
    ];
    let marks: BTreeSet<Marks> = all.iter().map(ScannedFiles::marks).collect();
    assert_eq!(marks.len(), all.len());
    assert_eq!(all[5].clone().marks(), all[5].marks());
}

#[test]
fn file_with_non_utf8_name_is_refused_and_not_retained() {
    let rules = RulesDir::new(&[]);
    for name in [&b"a\xff\n.yaml"[..], b"b.yaml"] {
        fs::write(rules.dir.path().join(OsStr::from_bytes(name)), "bytes").unwrap();
    }
    let snapshot = rules.scan(1024, None);
    assert_eq!(retained_names(&snapshot), ["b.yaml"], "the control: the other file is read");
    let refused = snapshot.rules.values().find_map(|seen| seen.content.as_ref().err()).unwrap();
    assert!(refused.message.starts_with("file name \"a\\xff\\u000a.yaml\": not UTF-8"), "{refused}");
}

#[test]
fn at_most_eight_files_with_similar_names_are_reported() {
    let rules = RulesDir::new(&[]);
    for name in ["a.yaml", "b.yml", "c.YAML", ".d.yml", "e.yaml.minisig", "f.txt", "yml"] {
        rules.write(name, name);
    }
    fs::create_dir(rules.dir.path().join("g.yml")).unwrap();
    let message = rules.scan(1024, None).ignored.message();
    assert_eq!(message.as_deref(), Some("not read, the name does not end in .yaml: b.yml, c.YAML"));
    for number in 10..30 {
        rules.write(&format!("{number}.yml"), "");
    }
    let message = rules.scan(1024, None).ignored.message().unwrap();
    assert!(
        message.ends_with(": 10.yml, 11.yml, 12.yml, 13.yml, 14.yml, 15.yml, 16.yml, 17.yml, and 14 more")
    );
    assert_eq!(ignored(&["x\n.yml"]).message().unwrap().lines().count(), 1);
    assert_eq!(RulesDir::new(&[]).scan(1024, None).ignored.message(), None);
}

#[test]
fn signature_symlink_out_of_the_directory_is_not_read() {
    let (rules, outside) = (RulesDir::new(&[]), RulesDir::new(&[]));
    outside.write("secret", "secret");
    for name in ["a.yaml", "b.yaml", "b.sig"] {
        rules.write(name, name);
    }
    symlink(outside.dir.path().join("secret"), rules.dir.path().join("a.yaml.minisig")).unwrap();
    symlink("b.sig", rules.dir.path().join("b.yaml.minisig")).unwrap();
    let snapshot = rules.scan(1024, Some(&mut |_, _| Ok(())));
    let signature = |name: &str| snapshot.rules[&rules.dir.path().join(name)].signature.clone();
    assert!(signature("a.yaml").unwrap_err().message.contains("outside the directory"));
    assert_eq!(signature("b.yaml"), Ok(Some(b"b.sig".to_vec())), "the control");
}
