use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

mod queue;

const SOON_ENOUGH: Duration = Duration::from_secs(1);
/// Longer than the delivery of any event.
const QUIET: Duration = Duration::from_millis(50);

/// Creates the directory `rules` in a temporary directory, with `a.yaml` and the hidden `.b`; watched, all events read.
async fn watched() -> (TempDir, PathBuf, Watcher) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("rules");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), "old").unwrap();
    fs::write(dir.join(".b"), "hidden").unwrap();
    let watcher = Watcher::new(&[WatchedDir::all(&dir)]).unwrap();
    (root, dir, watcher)
}

/// Waits one second for a change, reads until no event is left, and returns the most urgent change.
async fn most(watcher: &mut Watcher) -> Option<Change> {
    let mut most = timeout(SOON_ENOUGH, watcher.changed()).await.ok();
    while most.is_some()
        && let Ok(next) = timeout(QUIET, watcher.changed()).await
    {
        most = most.max(Some(next));
    }
    most
}

/// Returns `true` if nothing is reported within 50 ms.
async fn is_quiet(watcher: &mut Watcher) -> bool {
    timeout(QUIET, watcher.changed()).await.is_err()
}

fn swap_link(dir: &Path, target: &str, link: &str) {
    symlink(target, dir.join("..tmp")).unwrap();
    fs::rename(dir.join("..tmp"), dir.join(link)).unwrap();
}

#[tokio::test]
async fn every_kind_of_file_change_is_reported_within_a_second() {
    type Step = fn(&Path);
    let steps: [(&str, Change, Step); 17] = [
        ("a new file", Change::Now, |dir| fs::write(dir.join("b.yaml"), "b").unwrap()),
        ("truncate and write", Change::Now, |dir| fs::write(dir.join("a.yaml"), "new").unwrap()),
        ("write in place", Change::Now, |dir| {
            OpenOptions::new().write(true).open(dir.join("a.yaml")).unwrap().write_all(b"x").unwrap();
        }),
        ("append", Change::Now, |dir| {
            OpenOptions::new().append(true).open(dir.join("a.yaml")).unwrap().write_all(b"x").unwrap();
        }),
        ("write, and keep open", Change::Soon, |dir| {
            let mut file = OpenOptions::new().write(true).open(dir.join("a.yaml")).unwrap();
            file.write_all(b"y").unwrap();
            // The descriptor outlives the step, as that of a slow writer.
            std::mem::forget(file);
        }),
        ("create, and keep open", Change::Soon, |dir| {
            std::mem::forget(File::create_new(dir.join("slow.yaml")).unwrap());
        }),
        ("rename from a hidden name", Change::Now, |dir| {
            fs::rename(dir.join(".b"), dir.join("a.yaml")).unwrap();
        }),
        ("rename from another directory", Change::Now, |dir| {
            let aside = dir.with_file_name("aside");
            fs::write(&aside, "new").unwrap();
            fs::rename(aside, dir.join("a.yaml")).unwrap();
        }),
        ("rename to another directory", Change::Now, |dir| {
            fs::rename(dir.join("a.yaml"), dir.with_file_name("aside")).unwrap();
        }),
        // Not by a child process: until its exec it shares every lock of the other tests.
        ("copy", Change::Now, |dir| {
            fs::copy(dir.join("a.yaml"), dir.join("c.yaml")).unwrap();
        }),
        ("hard link", Change::Soon, |dir| {
            let aside = dir.with_file_name("aside");
            fs::write(&aside, "new").unwrap();
            fs::hard_link(aside, dir.join("l.yaml")).unwrap();
        }),
        ("symbolic link", Change::Soon, |dir| symlink("a.yaml", dir.join("s.yaml")).unwrap()),
        ("swap of a symbolic link", Change::Now, |dir| swap_link(dir, "..v2", "..data")),
        ("delete", Change::Now, |dir| fs::remove_file(dir.join("a.yaml")).unwrap()),
        ("made readable", Change::Now, |dir| {
            fs::set_permissions(dir.join("a.yaml"), PermissionsExt::from_mode(0o640)).unwrap();
        }),
        ("directory deleted", Change::Now, |dir| fs::remove_dir_all(dir).unwrap()),
        ("directory renamed away", Change::Now, |dir| fs::rename(dir, dir.with_file_name("away")).unwrap()),
    ];
    for (style, change, step) in steps {
        let (_root, dir, mut watcher) = watched().await;
        assert!(is_quiet(&mut watcher).await, "{style}: before");
        step(&dir);
        assert_eq!(most(&mut watcher).await, Some(change), "{style}");
        assert!(is_quiet(&mut watcher).await, "{style}: afterwards");
    }
}

#[tokio::test]
async fn irrelevant_changes_are_not_reported() {
    let (root, dir, mut watcher) = watched().await;
    fs::write(dir.join(".b"), "hidden still").unwrap();
    fs::remove_file(dir.join(".b")).unwrap();
    fs::write(dir.join(".c"), "hidden").unwrap();
    fs::write(root.path().join("status.json"), "{}").unwrap();
    fs::create_dir(root.path().join("rules.bak")).unwrap();
    assert_eq!(fs::read(dir.join("a.yaml")).unwrap(), b"old");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    assert!(is_quiet(&mut watcher).await);
}

#[tokio::test]
async fn recreated_directory_is_watched_again() {
    type Step = fn(&Path);
    let returns: [(&str, Step); 7] = [
        ("deleted and made again", |dir| {
            fs::remove_dir_all(dir).unwrap();
            fs::create_dir(dir).unwrap();
        }),
        ("renamed away and back", |dir| {
            fs::rename(dir, dir.with_file_name("away")).unwrap();
            fs::rename(dir.with_file_name("away"), dir).unwrap();
        }),
        ("replaced by another", |dir| {
            fs::create_dir(dir.with_file_name("other")).unwrap();
            fs::rename(dir, dir.with_file_name("away")).unwrap();
            fs::rename(dir.with_file_name("other"), dir).unwrap();
        }),
        ("replaced by a link", |dir| {
            fs::rename(dir, dir.with_file_name("away")).unwrap();
            symlink("away", dir).unwrap();
        }),
        ("a link that is swapped", |dir| {
            fs::rename(dir, dir.with_file_name("v1")).unwrap();
            fs::create_dir(dir.with_file_name("v2")).unwrap();
            symlink("v1", dir).unwrap();
            let parent = dir.parent().unwrap();
            swap_link(parent, "v2", "rules");
        }),
        ("a file for a while", |dir| {
            fs::rename(dir, dir.with_file_name("away")).unwrap();
            fs::write(dir, "no directory").unwrap();
            fs::remove_file(dir).unwrap();
            fs::create_dir(dir).unwrap();
        }),
        ("with its parent", |dir| {
            fs::remove_dir_all(dir).unwrap();
            let parent = dir.parent().unwrap();
            fs::remove_dir(parent).unwrap();
            fs::create_dir_all(dir).unwrap();
        }),
    ];
    for (style, step) in returns {
        for read_between in [false, true] {
            let (_root, dir, mut watcher) = watched().await;
            step(&dir);
            if read_between {
                assert_eq!(most(&mut watcher).await, Some(Change::Now), "{style}");
            }
            fs::write(dir.join("new.yaml"), "new").unwrap();
            assert_eq!(most(&mut watcher).await, Some(Change::Now), "{style}: a file in it");
            fs::rename(dir.join("new.yaml"), dir.join("newer.yaml")).unwrap();
            assert_eq!(most(&mut watcher).await, Some(Change::Now), "{style}: another file in it");
            assert_eq!(watcher.watched.len(), 2, "{style}");
        }
    }
}

#[tokio::test]
async fn renamed_directory_is_no_longer_watched() {
    let (root, dir, mut watcher) = watched().await;
    let away = root.path().join("away");
    fs::rename(&dir, &away).unwrap();
    assert_eq!(most(&mut watcher).await, Some(Change::Now));
    fs::write(away.join("a.yaml"), "elsewhere").unwrap();
    assert!(is_quiet(&mut watcher).await);
    let fd = watcher.queue.as_ref().unwrap().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    assert_eq!(info.matches("inotify wd:").count(), 1, "{info}");
}

#[tokio::test]
async fn missing_directory_is_awaited_from_its_nearest_ancestor() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("etc/agent/rules.d");
    let mut watcher = Watcher::new(&[WatchedDir::all(&dir)]).unwrap();
    assert!(is_quiet(&mut watcher).await);
    fs::create_dir_all(&dir).unwrap();
    assert_eq!(most(&mut watcher).await, Some(Change::Now));
    fs::write(dir.join("a.yaml"), "new").unwrap();
    assert_eq!(most(&mut watcher).await, Some(Change::Now));
}

#[tokio::test]
async fn directory_that_is_also_a_parent_is_watched_as_both() {
    let (root, dir, _) = watched().await;
    let mut watcher = Watcher::new(&[&dir, root.path()].map(WatchedDir::all)).unwrap();
    for file in [root.path().join("managed-ranges.yaml"), dir.join("a.yaml")] {
        fs::write(&file, "new").unwrap();
        assert_eq!(most(&mut watcher).await, Some(Change::Now), "{}", file.display());
    }
}

/// Writes a version of a file into a ConfigMap volume as a kubelet does, and removes the previous one.
fn push(dir: &Path, version: u32) {
    let data = dir.join(format!("..v{version}"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("a.yaml"), version.to_string()).unwrap();
    swap_link(dir, &format!("..v{version}"), "..data");
    if version == 0 {
        symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
    } else {
        fs::remove_dir_all(dir.join(format!("..v{}", version - 1))).unwrap();
    }
}

#[tokio::test]
async fn each_of_50_config_map_swaps_is_reported() {
    let root = tempfile::tempdir().unwrap();
    push(root.path(), 0);
    let file = root.path().join("a.yaml");
    let mut watcher = Watcher::new(&[WatchedDir::all(root.path())]).unwrap();
    let mut on_file = Inotify::init().unwrap();
    on_file.watches().add(&file, WatchMask::ALL_EVENTS - WatchMask::OPEN - WatchMask::ACCESS).unwrap();
    for version in 1..=50 {
        push(root.path(), version);
        let change = timeout(SOON_ENOUGH, watcher.changed()).await;
        assert_eq!(change, Ok(Change::Now), "{version}");
        assert_eq!(fs::read_to_string(&file).unwrap(), version.to_string());
        let seen = on_file.read_events(&mut [0; 4096]).is_ok();
        assert_eq!(seen, version == 1, "a watch on the file at swap {version}");
    }
}

#[tokio::test]
async fn unread_swaps_do_not_hide_the_last_one() {
    let root = tempfile::tempdir().unwrap();
    push(root.path(), 0);
    let mut watcher = Watcher::new(&[WatchedDir::all(root.path())]).unwrap();
    (1..=50).for_each(|version| push(root.path(), version));
    assert_eq!(timeout(SOON_ENOUGH, watcher.changed()).await, Ok(Change::Now));
    assert!(is_quiet(&mut watcher).await);
    push(root.path(), 51);
    assert_eq!(timeout(SOON_ENOUGH, watcher.changed()).await, Ok(Change::Now));
}

#[tokio::test]
async fn cancelled_wait_loses_no_change() {
    let (_root, dir, mut watcher) = watched().await;
    for round in 0..200 {
        let give_up = timeout(Duration::from_micros(fastrand::u64(0..300)), watcher.changed());
        let (given_up, ()) = tokio::join!(give_up, async {
            tokio::task::yield_now().await;
            swap_link(&dir, &round.to_string(), "..data");
        });
        let seen = given_up.is_ok() || timeout(SOON_ENOUGH, watcher.changed()).await.is_ok();
        assert!(seen, "swap {round}");
        while timeout(Duration::from_millis(2), watcher.changed()).await.is_ok() {}
    }
}

#[test]
fn other_files_beside_a_watched_one_do_not_matter() {
    let dir = WatchedDir::of_file(Path::new("/etc/ranges.yaml"));
    assert_eq!(dir.path, Path::new("/etc"));
    for (name, concerns, of_all) in [
        ("ranges.yaml", true, true),
        ("ranges.yaml.minisig", true, true),
        ("..data", true, true),
        ("agent.log", false, true),
        ("other.yaml", false, true),
        ("ranges.yaml.tmp", false, true),
        (".ranges.yaml", false, false),
    ] {
        assert_eq!(dir.concerns(OsStr::new(name)), concerns, "{name}");
        assert_eq!(WatchedDir::all(Path::new("/etc")).concerns(OsStr::new(name)), of_all, "{name}");
    }
}
