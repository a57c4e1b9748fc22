//! Event queues that overflow, break, or cannot be created.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;

#[tokio::test]
async fn queue_overflow_triggers_a_rescan() {
    let most_queued: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    // Each link is one event, and alone not urgent.
    for (links, change) in [(most_queued / 2, Change::Soon), (most_queued + 1, Change::Now)] {
        let (_root, dir, mut watcher) = watched().await;
        (0..links).for_each(|link| symlink("nowhere", dir.join(link.to_string())).unwrap());
        assert_eq!(timeout(SOON_ENOUGH, watcher.changed()).await, Ok(change), "{links} links");
        assert!(is_quiet(&mut watcher).await);
    }
}

#[tokio::test]
async fn broken_queue_is_reported_once_and_recreated() {
    let (_root, dir, mut watcher) = watched().await;
    let (broken, _) = UnixStream::pair().unwrap();
    broken.set_nonblocking(true).unwrap();
    let broken = Inotify::from(OwnedFd::from(broken));
    // SAFETY: as in `queue`.
    watcher.queue = Some(unsafe { AsyncFd::register_with_interest(broken, Interest::READABLE) }.unwrap());
    assert_eq!(timeout(QUIET, watcher.changed()).await, Ok(Change::Now));
    assert!(watcher.problem().is_some());
    // Not at once: a permanently broken queue must cost nothing. Then because of missed events.
    assert!(is_quiet(&mut watcher).await);
    assert_eq!(timeout(2 * RETRY, watcher.changed()).await, Ok(Change::Now));
    assert_eq!(watcher.problem(), None);
    assert!(is_quiet(&mut watcher).await);
    fs::write(dir.join("a.yaml"), "new").unwrap();
    assert_eq!(most(&mut watcher).await, Some(Change::Now));
}

#[tokio::test]
async fn missing_queue_is_retried_and_the_limit_named() {
    let (_root, dir, control) = watched().await;
    assert_eq!(control.problem(), None, "the control");
    let refuse = || Err(io::Error::from_raw_os_error(libc::EMFILE));
    let mut watcher = Watcher::with(&[WatchedDir::all(&dir)], refuse).unwrap();
    let problem = watcher.problem().unwrap();
    assert!(problem.contains("fs.inotify.max_user_instances"), "{problem}");
    // Nothing is reported, and the watcher retries.
    assert!(timeout(2 * RETRY, watcher.changed()).await.is_err());
    assert!(watcher.problem().is_some());
    // Reported because of missed events.
    watcher.make = queue;
    assert_eq!(timeout(2 * RETRY, watcher.changed()).await, Ok(Change::Now));
    assert_eq!(watcher.problem(), None);
    fs::write(dir.join("a.yaml"), "new").unwrap();
    assert_eq!(most(&mut watcher).await, Some(Change::Now));
}
