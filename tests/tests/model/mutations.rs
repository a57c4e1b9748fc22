//! Small random damage to frames.

use fastrand::Rng;
use firewall_tests::packets::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, NO_NEXT, ROUTING, TCP, UDP,
};

/// A frame retains its Ethernet header; a test run in the kernel requires it.
const SHORTEST: usize = 14;
/// A frame for a linear test run stays shorter than this.
const LONGEST: usize = 2_000;
/// Headers are at the start; damage further on changes nothing.
const HEADERS: usize = 128;
/// Offsets of significant fields in an untagged frame: IPv4 version and length, total length, fragment and protocol;
/// IPv6 payload length and next header; the first bytes after an IPv4 header, and after an IPv6 one.
const FIELDS: [usize; 18] = [12, 13, 14, 16, 17, 18, 19, 20, 21, 23, 34, 35, 36, 37, 54, 55, 56, 57];
/// Significant values of a field: numbers, and kinds of headers.
const NUMBERS: [u8; 13] = [0, 1, 2, 4, 5, 8, 0x20, 0x40, 0x45, 0x46, 0x4f, 0x60, 0xff];
const KINDS: [u8; 7] = [TCP, UDP, ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT, DESTINATION_OPTIONS];

/// Damages a frame of at least 14 bytes in one random way.
pub fn mutate(rng: &mut Rng, frame: &mut Vec<u8>) {
    let at = rng.usize(..frame.len().min(HEADERS));
    match rng.u8(..8) {
        0 => frame[at] ^= 1 << rng.u8(..8),
        1 => frame[at] = significant(rng),
        2 => {
            let field = FIELDS[rng.usize(..FIELDS.len())];
            if let Some(byte) = frame.get_mut(field) {
                *byte = if rng.bool() { significant(rng) } else { rng.u8(..) };
            }
        }
        3 => frame.truncate(rng.usize(SHORTEST..=frame.len())),
        4 => duplicate(rng, frame),
        5 => insert_header(rng, frame),
        6 => remove(rng, frame),
        _ => append(rng, frame),
    }
}

fn significant(rng: &mut Rng) -> u8 {
    let at = rng.usize(..NUMBERS.len() + KINDS.len());
    if at < NUMBERS.len() { NUMBERS[at] } else { KINDS[at - NUMBERS.len()] }
}

/// Duplicates a range of bytes in place, such as a whole header.
fn duplicate(rng: &mut Rng, frame: &mut Vec<u8>) {
    let lengths = [4, 8, 20, 40];
    let length = lengths[rng.usize(..lengths.len())];
    let at = rng.usize(..frame.len().min(HEADERS));
    let run = frame[at..(at + length).min(frame.len())].to_vec();
    if frame.len() + run.len() <= LONGEST {
        frame.splice(at..at, run);
    }
}

/// Inserts an empty extension header after the fixed header of an untagged IPv6 frame, with or without an adjusted
/// payload length.
fn insert_header(rng: &mut Rng, frame: &mut Vec<u8>) {
    let (next, after) = (14 + 6, 14 + 40);
    if frame.len() < after || frame.len() + 8 > LONGEST {
        return;
    }
    let kind = significant(rng);
    let header = [frame[next], 0, 0, 0, 0, 0, 0, 0];
    frame.splice(after..after, header);
    frame[next] = kind;
    if rng.bool() {
        frame[14 + 5] = frame[14 + 5].wrapping_add(8);
    }
}

fn remove(rng: &mut Rng, frame: &mut Vec<u8>) {
    let at = rng.usize(..frame.len().min(HEADERS));
    let end = (at + rng.usize(1..9)).min(frame.len());
    if frame.len() - (end - at) >= SHORTEST {
        frame.drain(at..end);
    }
}

fn append(rng: &mut Rng, frame: &mut Vec<u8>) {
    if frame.len() + 64 <= LONGEST {
        let extra = rng.usize(1..64);
        frame.extend((0..extra).map(|_| rng.u8(..)));
    }
}
