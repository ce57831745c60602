//! A disk in memory of which a crash keeps only what was flushed, and any part of what was not.
//!
//! The model, meaner than any file system we know:
//! - Written octets survive in units of 512-octet sectors. At a crash each sector that was written but not flushed is
//!   kept, lost or torn at any octet, independently of the others. A length that was not flushed may be either.
//! - Created, renamed and removed names survive independently of each other and of their files' octets until
//!   `flush_folder`.
//! - A flush that fails drops what it should have flushed: the octets can still be read, no later flush writes them,
//!   and a crash brings the old ones back (as Linux does after an I/O error).
//! - Space is a number: what the files hold against `set_capacity`.

mod dice;
mod state;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};
pub use dice::Dice;
use state::{FileState, NameChange, State, sectors};

/// A file system in memory. Cheap to clone: clones share the disk.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A failed flush drops what it should have flushed.
    Io,
    /// ENOSPC, nothing written.
    Full,
    /// A write: a part of it is written, then ENOSPC. Any other call: ENOSPC.
    ShortWrite,
    /// The power goes: this call and all after it fail until `crash`.
    PowerOff,
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: u64,
    life: u64,
    read_only: bool,
}

/// All calls wait as long as this lives.
#[derive(Debug)]
pub struct Hung<'a> {
    _state: MutexGuard<'a, State>,
}

// === impl SimulatedDisk ===

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Pulls the plug and starts again: of what was not flushed, `seed` decides what is left. Files opened before are
    /// dead; faults that were set are forgotten.
    pub fn crash(&self, seed: u64) {
        self.lock().crash(&mut Dice::new(seed));
    }

    /// Makes the call with this number (counted from the first one on this disk, 1) fail.
    pub fn fail_nth(&self, call: u64, fault: Fault) {
        self.lock().faults.insert(call, fault);
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Whether the power went, and no call works until `crash`.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().powered_off
    }

    /// The flushes of files so far.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    /// Sets how many octets all files together may hold. `None`: any number.
    pub fn set_capacity(&self, octets: Option<u64>) {
        self.lock().capacity = octets;
    }

    /// Sets how many files there may be, for `free_files`. `None`: any number.
    pub fn set_files_max(&self, files: Option<u64>) {
        self.lock().files_max = files;
    }

    /// Makes the disk hang.
    #[must_use]
    pub fn hang(&self) -> Hung<'_> {
        Hung { _state: self.lock() }
    }

    /// Inverts bits of one octet that lies on the disk, as a failing medium does.
    pub fn damage(&self, path: &Path, offset: usize, mask: u8) {
        let mut state = self.lock();
        let Some(file) = state.names.get(path).copied().and_then(|file| state.files.get_mut(&file)) else {
            return;
        };
        for octets in [&mut file.octets, &mut file.durable] {
            if let Some(octet) = octets.get_mut(offset) {
                *octet ^= mask;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; fails it where that was asked for.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match state.count_call() {
            None => Ok(state),
            Some(fault) => Err(fault.error()),
        }
    }

    fn handle(&self, file: u64, life: u64, read_only: bool) -> Box<dyn DiskFile> {
        Box::new(SimulatedFile { disk: self.clone(), file, life, read_only })
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.next_file;
        state.next_file = file.wrapping_add(1);
        state.files.insert(file, FileState::default());
        state.names.insert(path.to_owned(), file);
        state.name_changes.push(NameChange::Create(path.to_owned(), file));
        Ok(self.handle(file, state.life, false))
    }

    fn open(&self, path: &Path, read_only: bool) -> io::Result<Box<dyn DiskFile>> {
        let state = self.call()?;
        let file = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(file, state.life, read_only))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.name_changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.name_changes.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn make_folder(&self, _path: &Path) -> io::Result<()> {
        self.call().map(drop)
    }

    fn flush_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        let (flushed, kept) = std::mem::take(&mut state.name_changes)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.folder() == Some(path));
        for change in &flushed {
            change.apply(&mut state.durable_names);
        }
        state.name_changes = kept;
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.call()?;
        Ok(state.names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn free_octets(&self, _path: &Path) -> io::Result<u64> {
        let state = self.call()?;
        Ok(state.free())
    }

    fn free_files(&self, _path: &Path) -> io::Result<u64> {
        let state = self.call()?;
        let used = state.names.len() as u64;
        Ok(state.files_max.map_or(u64::MAX, |most| most.saturating_sub(used)))
    }
}

// === impl SimulatedFile ===

impl SimulatedFile {
    fn alive(&self, state: &State) -> io::Result<()> {
        if state.life == self.life { Ok(()) } else { Err(Fault::Io.error()) }
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.call()?;
        self.alive(&state)?;
        let octets = state.files.get(&self.file).map_or(&[][..], |file| &file.octets);
        let rest = octets.get(index(offset)?..).unwrap_or_default();
        let count = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_all_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fault = state.count_call();
        self.alive(&state)?;
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut octets: Vec<u8> = slices.iter().map(|slice| &**slice).collect::<Vec<&[u8]>>().concat();
        match fault {
            None => {}
            Some(Fault::ShortWrite) => octets.truncate(octets.len() / 2),
            Some(fault) => return Err(fault.error()),
        }
        let start = index(offset)?;
        let end = start.checked_add(octets.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let grows = end.saturating_sub(state.files.get(&self.file).map_or(0, |file| file.octets.len()));
        if grows as u64 > state.free() {
            return Err(Fault::Full.error());
        }
        if let Some(file) = state.files.get_mut(&self.file) {
            file.write(start, end, &octets);
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fault = state.count_call();
        self.alive(&state)?;
        state.flushes = state.flushes.wrapping_add(1);
        let Some(file) = state.files.get_mut(&self.file) else { return Ok(()) };
        match fault {
            None => file.flush(),
            Some(Fault::PowerOff) => return Err(Fault::Io.error()),
            Some(fault) => {
                file.dirty.clear();
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.call()?;
        self.alive(&state)?;
        Ok(state.files.get(&self.file).map_or(0, |file| file.octets.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.call()?;
        self.alive(&state)?;
        let len = index(len)?;
        if let Some(file) = state.files.get_mut(&self.file) {
            let before = file.octets.len();
            file.octets.resize(len, 0);
            file.dirty.extend(sectors(before.min(len), before.max(len)));
        }
        Ok(())
    }
}

// === impl Fault ===

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io | Self::PowerOff => io::Error::from_raw_os_error(EIO),
            Self::Full | Self::ShortWrite => io::Error::from(io::ErrorKind::StorageFull),
        }
    }
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The errno of a failing medium on Linux.
const EIO: i32 = 5;

#[cfg(test)]
mod tests;
