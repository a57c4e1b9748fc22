//! Arbitrary keys and signatures are rejected: the secret key is not available here.

#![no_main]

use firewall_agent::rules::{TrustedKey, check_signature};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "RWQBqKAi8U8ZaxTexoaD/19mLQtg4AOqAF0qZpGAtkYXrLqiZuOube1U";
/// Bytes that the key has signed.
const SIGNED: &[u8] = b"schema_version: 1\n...\n";

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, signature) = input;
    let keys: Vec<TrustedKey> = vec![KEY.parse().expect("a key")];
    let is_accepted = check_signature(&keys, bytes, Some(signature)).is_ok();
    assert!(!is_accepted || bytes == SIGNED, "a forged signature was accepted");
    if let Ok(text) = str::from_utf8(signature) {
        let _ = text.parse::<TrustedKey>();
    }
});
