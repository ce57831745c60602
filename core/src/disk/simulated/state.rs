//! What the simulated disk holds, and what of it a crash keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Dice, Fault};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, FileState>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since the last flush of their folder, in order.
    pub(super) name_changes: Vec<NameChange>,
    pub(super) next_file: u64,
    pub(super) calls: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) flushes: u64,
    /// Counts crashes: handles from before one are dead.
    pub(super) life: u64,
    pub(super) powered_off: bool,
    pub(super) capacity: Option<u64>,
    pub(super) files_max: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) octets: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

// === impl State ===

impl State {
    pub(super) fn count_call(&mut self) -> Option<Fault> {
        self.calls = self.calls.wrapping_add(1);
        let fault = self.faults.remove(&self.calls);
        self.powered_off |= fault == Some(Fault::PowerOff);
        if self.powered_off { Some(Fault::PowerOff) } else { fault }
    }

    pub(super) fn free(&self) -> u64 {
        let used: u64 =
            self.names.values().filter_map(|file| self.files.get(file)).map(|f| f.octets.len() as u64).sum();
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used))
    }

    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.name_changes) {
            if dice.chance(1, 2) {
                change.apply(&mut names);
            }
        }
        self.files.retain(|file, _| names.values().any(|named| named == file));
        for file in self.files.values_mut() {
            file.crash(dice);
        }
        self.names = names.clone();
        self.durable_names = names;
        self.faults.clear();
        self.powered_off = false;
        self.life = self.life.wrapping_add(1);
    }
}

// === impl FileState ===

impl FileState {
    pub(super) fn write(&mut self, start: usize, end: usize, octets: &[u8]) {
        if self.octets.len() < end {
            self.dirty.extend(sectors(self.octets.len(), end));
            lengthen(&mut self.octets, end);
        }
        if let Some(place) = self.octets.get_mut(start..end) {
            place.copy_from_slice(octets);
        }
        self.dirty.extend(sectors(start, end));
    }

    pub(super) fn flush(&mut self) {
        self.durable.truncate(self.octets.len());
        lengthen(&mut self.durable, self.octets.len());
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector, SECTOR_OCTETS);
        }
    }

    fn crash(&mut self, dice: &mut Dice) {
        if self.octets.len() != self.durable.len() && dice.chance(1, 2) {
            self.durable.resize(self.octets.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            match dice.below(4) {
                0 | 1 => self.keep(sector, SECTOR_OCTETS),
                2 => {}
                _ => self.keep(sector, dice.below_usize(SECTOR_OCTETS)),
            }
        }
        self.octets = self.durable.clone();
    }

    /// Makes the first `octets` octets of a sector durable.
    fn keep(&mut self, sector: usize, octets: usize) {
        let start = sector.saturating_mul(SECTOR_OCTETS);
        let end = start.saturating_add(octets).min(self.octets.len()).min(self.durable.len());
        if let (Some(to), Some(from)) = (self.durable.get_mut(start..end), self.octets.get(start..end)) {
            to.copy_from_slice(from);
        }
    }
}

// === impl NameChange ===

impl NameChange {
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => path.parent(),
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

/// With zeros; `resize` does that octet by octet where the compiler does not optimise, as in tests.
fn lengthen(octets: &mut Vec<u8>, len: usize) {
    octets.extend_from_slice(&vec![0; len.saturating_sub(octets.len())]);
}

pub(super) fn sectors(start: usize, end: usize) -> std::ops::Range<usize> {
    start / SECTOR_OCTETS..end.div_ceil(SECTOR_OCTETS)
}

/// What a disk writes whole or, at worst, tears.
const SECTOR_OCTETS: usize = 512;
