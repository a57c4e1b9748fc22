//! Retries for transient errors of kernel calls: memory shortage, busy objects.

use std::{io, thread::sleep, time::Duration};

use anyhow::Result;

/// Number of attempts, with a wait that doubles each time: 31 ms in all.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(1);

/// Retries transient errors (ENOMEM, EBUSY, EAGAIN, EDEADLK, ETIMEDOUT); returns the last error.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    for number in 0..TRIES - 1 {
        match attempt() {
            Err(error) if is_transient(&error) => sleep(FIRST_WAIT * 2_u32.pow(number)),
            done => return done,
        }
    }
    attempt()
}

fn is_transient(error: &anyhow::Error) -> bool {
    let codes = [libc::ENOMEM, libc::EBUSY, libc::EAGAIN, libc::EDEADLK, libc::ETIMEDOUT];
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
        .any(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, bail};

    use super::*;

    #[test]
    fn transient_errors_are_retried_and_permanent_ones_are_not() {
        for (code, failures, expected) in [
            (libc::ENOMEM, 3, Some(4)),
            (libc::EBUSY, 99, None),
            (libc::EPERM, 1, None),
            (libc::EAGAIN, 0, Some(1)),
        ] {
            let mut tries = 0;
            let done = patiently(|| {
                tries += 1;
                if tries <= failures {
                    Err(io::Error::from_raw_os_error(code)).context("write")?
                }
                Ok(tries)
            });
            assert_eq!(done.ok(), expected, "{code}");
            assert!(code != libc::EPERM || tries == 1);
        }
        let mut tries = 0;
        let done: Result<()> = patiently(|| {
            tries += 1;
            bail!("no error of the kernel")
        });
        assert!(done.is_err() && tries == 1);
    }
}
