//! Shapes of the maps, as the embedded object declares them.

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context as _, Result, anyhow};
use aya_obj::Object;

use super::programs::OBJECT;

/// Type, sizes and flags of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Number of a `bpf_map_type`.
    pub kind: u32,
    /// In bytes.
    pub key_size: u32,
    /// In bytes.
    pub value_size: u32,
    /// A placeholder where the contract derives the number from the configuration.
    pub entries: u32,
    pub flags: u32,
    /// In an array of maps: the shape of the inner maps. Their number of entries is a placeholder.
    pub inner: Option<Box<Self>>,
}

type Shapes = BTreeMap<String, Shape>;

static SHAPES: LazyLock<Result<Shapes, String>> =
    LazyLock::new(|| parse(OBJECT).map_err(|error| format!("{error:#}")));

/// The shape of a map of firewall-common.
///
/// # Errors
/// When the object declares no such map.
pub(super) fn shape(name: &str) -> Result<&'static Shape> {
    let shapes = SHAPES.as_ref().map_err(|error| anyhow!("{error}"))?;
    shapes.get(name).with_context(|| format!("map {name}: not declared in the XDP object"))
}

/// The shape of the inner maps of an array of maps.
///
/// # Errors
/// When the object declares no such array.
pub(super) fn inner_shape(name: &str) -> Result<&'static Shape> {
    shape(name)?.inner.as_deref().with_context(|| format!("map {name}: not an array of maps"))
}

fn parse(object: &[u8]) -> Result<Shapes> {
    let object = Object::parse(object).context("cannot parse the XDP object")?;
    Ok(object.maps.iter().map(|(name, map)| (name.clone(), Shape::of(map))).collect())
}

impl Shape {
    fn of(map: &aya_obj::Map) -> Self {
        Self {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            entries: map.max_entries(),
            flags: map.map_flags(),
            inner: map.inner().map(|inner| Box::new(Self::of(&inner))),
        }
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::{
        Endpoint, EndpointKey,
        names::{CONTRACT, SharedMap},
    };

    use super::*;
    use crate::bpf::programs::PACKET_LOG_OBJECT;

    /// The contract's maps with other sizes in the program, or missing from it.
    fn mismatches(shapes: &Shapes) -> Vec<&'static str> {
        let differs = |map: &&SharedMap| {
            shapes.get(map.name).is_none_or(|shape| {
                (shape.key_size as usize, shape.value_size as usize) != (map.key_size, map.value_size)
            })
        };
        CONTRACT.iter().filter(differs).map(|map| map.name).collect()
    }

    #[test]
    fn both_builds_declare_every_map_of_the_contract_in_the_same_shape() {
        let (normal, packet_log) = (parse(OBJECT).unwrap(), parse(PACKET_LOG_OBJECT).unwrap());
        assert_eq!(mismatches(&normal), [""; 0]);
        for map in CONTRACT {
            assert_eq!(normal[map.name], packet_log[map.name], "{}", map.name);
        }
        // Control: another size, and a missing map.
        let mut other = normal;
        other.get_mut("RULES").unwrap().value_size -= 8;
        other.remove("DENIALS");
        assert_eq!(mismatches(&other), ["RULES", "DENIALS"]);
    }

    /// A map outside the contract would not be pinned, and lost with the program.
    #[test]
    fn the_program_has_no_private_map() {
        let shapes = parse(OBJECT).unwrap();
        let shared = |name: &str| CONTRACT.iter().any(|map| map.name == name);
        let private = shapes.keys().filter(|name| !shared(name) && !name.starts_with('.'));
        assert_eq!(private.collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn arrays_of_maps_declare_their_inner_maps() {
        let table = inner_shape("ENDPOINTS").unwrap();
        assert_eq!(table.key_size as usize, size_of::<EndpointKey>());
        assert_eq!(table.value_size as usize, size_of::<Endpoint>());
        for (name, key_size) in [("SOURCES_V4", 8), ("SOURCES_V6", 20)] {
            assert_eq!(inner_shape(name).unwrap().key_size, key_size, "prefix length and address");
        }
        assert!(inner_shape("PORTS").is_err(), "control: a plain array");
    }

    #[test]
    fn a_damaged_object_is_an_error() {
        assert!(parse(&OBJECT[..64]).is_err());
        assert!(shape("NO_SUCH_MAP").is_err());
    }
}
