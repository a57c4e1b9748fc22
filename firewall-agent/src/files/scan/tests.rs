use std::fs::File;

use super::*;

struct Place {
    dir: tempfile::TempDir,
    known: BTreeSet<PathBuf>,
}

impl Place {
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

    fn scan(&self, most_files: usize, check: Option<Check<'_>>) -> Snapshot {
        let (rules_dir, ranges) = (self.dir.path(), self.dir.path().join("none"));
        scan(&Look { rules_dir, managed_ranges: &ranges, known: &self.known, most_files }, check)
    }
}

/// The names of the files whose bytes are kept.
fn kept(snapshot: &Snapshot) -> Vec<&str> {
    let kept = snapshot.rules.iter().filter(|(_, seen)| seen.content.is_ok());
    kept.map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect()
}

#[test]
fn of_too_many_files_the_known_are_read_first_and_no_other_is_passed_over_in_silence() {
    let place = Place::new(&["z.yaml"]);
    for name in ["f.yaml", "e.yaml", "d.yaml", "z.yaml", "c.yaml", "b.yaml", "a.yaml"] {
        place.write(name, name);
    }
    let snapshot = place.scan(2, None);
    assert_eq!(kept(&snapshot), ["a.yaml", "z.yaml"]);
    let refused: Vec<&String> =
        snapshot.rules.values().filter_map(|seen| seen.content.as_ref().err()).collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused.iter().all(|why| why.starts_with("not read: more than 2 rule files")), "{refused:?}");
    assert!(snapshot.unlisted.as_ref().unwrap().ends_with(": 2 more files are not looked at"));
    let all = place.scan(7, None);
    assert_eq!((kept(&all).len(), all.unlisted), (7, None), "the control");
}

#[test]
fn of_too_many_bytes_the_known_are_read_first_and_no_other_is_passed_over_in_silence() {
    let place = Place::new(&["z.yaml"]);
    place.write("z.yaml", "known");
    for number in 10..30 {
        place.write_hole(&format!("{number}.yaml"), 4 << 20);
    }
    let snapshot = place.scan(1024, None);
    let bytes: usize = snapshot.rules.values().flat_map(|seen| &seen.content).map(Vec::len).sum();
    assert!(bytes <= MOST_BYTES, "{bytes}");
    let kept = kept(&snapshot);
    assert_eq!((kept.len(), kept[0], kept[kept.len() - 1]), (16, "10.yaml", "z.yaml"));
    let last = &snapshot.rules[&place.dir.path().join("29.yaml")];
    assert!(last.content.as_ref().unwrap_err().starts_with("not read: more than 64 MiB"), "{last:?}");
}

#[test]
fn no_byte_is_kept_of_a_file_that_does_not_pass_the_check() {
    let place = Place::new(&[]);
    for name in ["good.yaml", "good.yaml.minisig", "bad.yaml"] {
        place.write(name, name);
    }
    let mut check =
        |_: &[u8], signature: &Signature| signature.clone()?.map(drop).ok_or("unsigned".to_owned());
    let snapshot = place.scan(1024, Some(&mut check));
    assert_eq!(kept(&snapshot), ["good.yaml"]);
    assert_eq!(snapshot.rules[&place.dir.path().join("bad.yaml")].content, Err("unsigned".to_owned()));
}

#[test]
fn whatever_differs_between_two_looks_differs_in_their_marks() {
    let seen = Seen { content: Ok(b"a".to_vec()), signature: Ok(None), visible_at: Timestamp::UNIX_EPOCH };
    let with = |path: &str, seen: Seen| Snapshot {
        rules: BTreeMap::from([(path.into(), seen)]),
        ..Snapshot::default()
    };
    let later = Timestamp::from_second(1).unwrap();
    let all = [
        Snapshot::default(),
        Snapshot { unlisted: Some("a".to_owned()), ..Snapshot::default() },
        Snapshot { ranges: Some(seen.clone()), ..Snapshot::default() },
        with("a", seen.clone()),
        with("b", seen.clone()),
        with("a", Seen { content: Ok(b"b".to_vec()), ..seen.clone() }),
        with("a", Seen { content: Err("b".to_owned()), ..seen.clone() }),
        with("a", Seen { signature: Ok(Some(Vec::new())), ..seen.clone() }),
        with("a", Seen { signature: Err("a".to_owned()), ..seen.clone() }),
        with("a", Seen { visible_at: later, ..seen }),
    ];
    let marks: BTreeSet<[u8; 32]> = all.iter().map(Snapshot::mark).collect();
    assert_eq!(marks.len(), all.len());
    assert_eq!(all[3].clone().mark(), all[3].mark());
}
