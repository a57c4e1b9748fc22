//! The tail-call map: the programs that record refused packets for `firewall`. Such a program ends the run with an
//! action of its own, so a foreign one could change verdicts.

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, Map, MapData, MapError, ProgramArray},
    programs::ProgramFd,
};

use super::{inner::share, records::absent_is_fine};

/// Entries of the map, at the indexes in `firewall_common::names`.
pub(super) struct Recorders {
    ids: Array<MapData, u32>,
    programs: ProgramArray<MapData>,
}

impl std::fmt::Debug for Recorders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorders").finish_non_exhaustive()
    }
}

impl Recorders {
    /// Uses an open map.
    pub fn new(map: &MapData) -> Result<Self> {
        // Opened as a plain array, an entry reads as the program's id; opening a program by its id would take
        // CAP_SYS_ADMIN.
        let ids = Array::try_from(Map::Array(share(map)?))?;
        let programs = ProgramArray::try_from(Map::ProgramArray(share(map)?))?;
        Ok(Self { ids, programs })
    }

    /// Kernel id of the program at an index; `None` when the entry is empty.
    pub fn id(&self, place: u32) -> Result<Option<u32>> {
        match self.ids.get(&place, 0) {
            Ok(id) => Ok(Some(id)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("recorder {place}: cannot be read")),
        }
    }

    /// Sets the program at an index.
    pub fn set(&mut self, place: u32, program: &ProgramFd) -> Result<()> {
        self.programs.set(place, program, 0).with_context(|| format!("recorder {place}: cannot be written"))
    }

    /// Clears the entry at an index: its packets keep their verdict, and are not recorded.
    pub fn clear(&mut self, place: u32) -> Result<()> {
        absent_is_fine(self.programs.clear_index(&place))
            .with_context(|| format!("recorder {place}: cannot be removed"))
    }
}
