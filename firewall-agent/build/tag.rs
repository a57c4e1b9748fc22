//! The tag that the kernel gives a program when it is loaded, worked out from the object: a hash of the instructions
//! as they are handed over, without what differs from load to load.

use std::collections::HashSet;

use aya_obj::generated::{BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, bpf_insn};
use aya_obj::{Map, Object};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// `BPF_LD | BPF_IMM | BPF_DW`, the instruction of two places that loads a map's address.
const LOAD_ADDRESS: u8 = 0x18;

/// The tags of one program, 16 hex digits each: the kernel's hash changed.
#[derive(Debug)]
pub struct Tags {
    /// Of Linux 6.18 and newer: SHA-256.
    pub newer: String,
    /// Of older kernels: SHA-1.
    pub older: String,
}

/// The tags of the program of this name, linked as the loader links it.
pub fn tags(object: &[u8], program: &str) -> Result<Tags, String> {
    let mut object = Object::parse(object).map_err(|error| format!("the object cannot be read: {error}"))?;
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    // No map exists, so none has a number; the kernel takes the numbers out of what it hashes.
    let maps: Vec<(String, Map)> =
        object.maps.iter().map(|(name, map)| (name.clone(), map.clone())).collect();
    let named = maps.iter().map(|(name, map)| (name.as_str(), 0, map));
    object.relocate_maps(named, &text).map_err(|error| format!("its maps: {error:?}"))?;
    object.relocate_calls(&text).map_err(|error| format!("its calls: {error:?}"))?;
    let key = object.programs.get(program).ok_or_else(|| format!("no program {program}"))?.function_key();
    let function = object.functions.get(&key).ok_or_else(|| format!("program {program}: no instructions"))?;
    let bytes = hashed(&function.instructions);
    Ok(Tags {
        newer: hex::encode(&Sha256::digest(&bytes)[..8]),
        older: hex::encode(&Sha1::digest(&bytes)[..8]),
    })
}

/// The instructions as `bpf_prog_calc_tag` in kernel/bpf/core.c sees them: little-endian, the map's number and the
/// offset in its value zeroed.
fn hashed(instructions: &[bpf_insn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(instructions.len() * 8);
    let mut second_half = false;
    for one in instructions {
        let is_load = one.code == LOAD_ADDRESS
            && matches!(u32::from(one.src_reg()), BPF_PSEUDO_MAP_FD | BPF_PSEUDO_MAP_VALUE);
        let is_second =
            second_half && one.code == 0 && one.dst_reg() == 0 && one.src_reg() == 0 && one.off == 0;
        let imm = if is_load && !second_half || is_second { 0 } else { one.imm };
        second_half = is_load && !second_half;
        bytes.extend([one.code, one.dst_reg() | one.src_reg() << 4]);
        bytes.extend(one.off.to_le_bytes());
        bytes.extend(imm.to_le_bytes());
    }
    bytes
}
