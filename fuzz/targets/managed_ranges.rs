//! Arbitrary bytes as managed ranges: rejected, or accepted with a round trip through YAML.

#![no_main]

use firewall_agent::rules::{MAX_FILE_BYTES, read_ranges};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(checked) = read_ranges(bytes) else { return };
    let text = checked.value.to_yaml();
    if text.len() <= MAX_FILE_BYTES {
        let again = read_ranges(text.as_bytes()).expect("what is stored is read");
        assert_eq!(again.value, checked.value, "{text}");
    }
});
