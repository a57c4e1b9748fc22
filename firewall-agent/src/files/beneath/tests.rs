use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;
use crate::files::read::{ReadError, read_file, read_rule_file};

const INSIDE: &[u8] = b"inside";
const OUTSIDE: &[u8] = b"outside";

/// The directory `rules` with `real.yaml` in it, beside `outside.yaml`.
fn directories() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("rules");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("real.yaml"), INSIDE).unwrap();
    fs::write(root.path().join("outside.yaml"), OUTSIDE).unwrap();
    (root, dir)
}

/// The bytes, or the text of the error.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_rule_file(path).map_err(|error| error.to_string())
}

#[test]
fn symlinks_within_the_directory_are_followed() {
    let (root, dir) = directories();
    fs::create_dir(dir.join("..2026_08_21")).unwrap();
    fs::write(dir.join("..2026_08_21/x.yaml"), INSIDE).unwrap();
    symlink("..2026_08_21", dir.join("..data")).unwrap();
    symlink("..data/x.yaml", dir.join("x.yaml")).unwrap();
    symlink("..data/../real.yaml", dir.join("up.yaml")).unwrap();
    symlink("up.yaml", dir.join("twice.yaml")).unwrap();
    symlink("../rules/real.yaml", dir.join("there-and-back.yaml")).unwrap();
    symlink(dir.join("real.yaml"), dir.join("absolute.yaml")).unwrap();
    symlink("rules", root.path().join("link")).unwrap();
    for name in ["x.yaml", "up.yaml", "twice.yaml", "real.yaml", "there-and-back.yaml", "absolute.yaml"] {
        assert_eq!(read(&dir.join(name)), Ok(INSIDE.to_vec()), "{name}");
        assert_eq!(read(&root.path().join("link").join(name)), Ok(INSIDE.to_vec()), "{name}, by a link");
    }
}

#[test]
fn symlink_out_of_the_directory_is_refused_with_its_target() {
    let (root, dir) = directories();
    let outside = root.path().join("outside.yaml");
    symlink(root.path(), dir.join("above")).unwrap();
    for (name, target, named) in [
        ("absolute.yaml", outside.to_str().unwrap(), outside.as_path()),
        ("relative.yaml", "../outside.yaml", &outside),
        ("by-a-directory.yaml", "above/outside.yaml", &outside),
        ("magic.yaml", "/proc/self/exe", &std::env::current_exe().unwrap()),
    ] {
        symlink(target, dir.join(name)).unwrap();
        let refused = read(&dir.join(name)).unwrap_err();
        let named = fs::canonicalize(named).unwrap_or(named.to_owned());
        assert!(refused.starts_with(&format!("a link to {}, outside", named.display())), "{name}: {refused}");
        let error = open_beneath(&dir, Path::new(name)).unwrap_err();
        assert!(is_escape(&error), "{name}: {error}");
    }
    // The control: without the confinement the same links lead to the bytes outside.
    assert_eq!(read_file(&dir.join("relative.yaml")).unwrap(), OUTSIDE);
}

#[test]
fn special_files_are_refused_without_blocking_or_reading() {
    let (_root, dir) = directories();
    mkfifo(&dir.join("fifo.yaml"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    fs::create_dir(dir.join("dir.yaml")).unwrap();
    symlink("fifo.yaml", dir.join("link.yaml")).unwrap();
    // Bytes are waiting in the FIFO: they stay there.
    let fifo = OpenOptions::new().read(true).write(true).open(dir.join("fifo.yaml")).unwrap();
    (&fifo).write_all(OUTSIDE).unwrap();
    for name in ["fifo.yaml", "dir.yaml", "link.yaml"] {
        assert!(matches!(read_rule_file(&dir.join(name)), Err(ReadError::NotRegular)), "{name}");
    }
    let mut waiting = vec![0; OUTSIDE.len()];
    (&fifo).read_exact(&mut waiting).unwrap();
    assert_eq!(waiting, OUTSIDE);
}

/// Earlier, racy way to read: resolves the link, then opens it.
fn read_after_check(path: &Path) -> Option<Vec<u8>> {
    let target = fs::canonicalize(path).ok()?;
    target.starts_with(fs::canonicalize(path.parent()?).ok()?).then(|| fs::read(path).ok())?
}

#[test]
fn symlink_swapped_during_open_never_escapes() {
    const SWAPS: usize = 10_000;
    let (root, dir) = directories();
    let (link, next) = (dir.join("a.yaml"), dir.join(".next"));
    let outside = fs::canonicalize(root.path()).unwrap().join("outside.yaml");
    let targets = [Path::new("real.yaml"), &outside];
    symlink(targets[0], &link).unwrap();
    let swap = |number: usize| {
        symlink(targets[number % 2], &next).unwrap();
        fs::rename(&next, &link).unwrap();
    };
    let (seen_both, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut inside, mut refused) = (0, 0);
    let leaked = thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            // At least this many, and more until the reader has met both targets.
            let goes_on = |swaps: &usize| *swaps < SWAPS || !seen_both.load(Ordering::Relaxed);
            (0..100 * SWAPS).take_while(goes_on).for_each(swap);
            done.store(true, Ordering::Relaxed);
        });
        // The racy read leaks, which proves that the swaps do interleave.
        let old = scope.spawn(|| {
            let mut leaked = 0;
            while !done.load(Ordering::Relaxed) {
                leaked += usize::from(read_after_check(&link).as_deref() == Some(OUTSIDE));
            }
            leaked
        });
        while !done.load(Ordering::Relaxed) {
            match read_rule_file(&link) {
                Ok(bytes) => {
                    assert_eq!(bytes, INSIDE);
                    inside += 1;
                }
                Err(ReadError::Outside(_)) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            seen_both.store(inside > 0 && refused > 0, Ordering::Relaxed);
        }
        swaps.join().unwrap();
        old.join().unwrap()
    });
    println!("{inside} read, {refused} refused, {leaked} leaked by the control");
    assert!(leaked > 0 || leaks_when_swapped_in_between(&link, swap), "the control does not leak");
}

/// Deterministic control: the swap comes exactly between the check and the open.
fn leaks_when_swapped_in_between(link: &Path, swap: impl Fn(usize)) -> bool {
    swap(0);
    let target = fs::canonicalize(link).unwrap();
    assert!(target.starts_with(fs::canonicalize(link.parent().unwrap()).unwrap()));
    swap(1);
    fs::read(link).unwrap() == OUTSIDE
}
