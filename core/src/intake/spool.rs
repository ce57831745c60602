//! The folder of bodies that are too large for the queue's records.
//!
//! A file is written as its body arrives, flushed with its folder, and only then named by a record. Whoever holds a
//! body last decides: a file that no record names is removed with its last handle, and what a crash leaves behind is
//! removed when the queue is opened.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile, FreeSpace, IoPool};
use crate::queue::AppendError;

/// The folder of body files and the threads that write them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// A body in a flushed file of its own.
#[derive(Debug)]
pub struct BodyFile {
    spool: Spool,
    name: String,
    octets: u64,
    hash: [u8; 32],
    /// Whether a record names it: then it stays when the last handle goes.
    kept: AtomicBool,
}

/// A body file that is being written.
#[derive(Debug)]
pub(super) struct PartialFile {
    spool: Spool,
    name: String,
    state: Mutex<PartialState>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// `None`: file work is done on the caller's thread.
    pool: Option<IoPool>,
    free_space: Option<Arc<FreeSpace>>,
    name_prefix: u64,
    names: AtomicU64,
}

#[derive(Default)]
struct PartialState {
    file: Option<Box<dyn DiskFile>>,
    hasher: blake3::Hasher,
    octets: u64,
    failed: Option<AppendError>,
    finished: bool,
}

/// Reads a body file and compares its hash at the end.
struct VerifyingReader {
    file: Box<dyn DiskFile>,
    hasher: blake3::Hasher,
    offset: u64,
    octets: u64,
    hash: [u8; 32],
}

// === impl Spool ===

impl Spool {
    /// A spool in `folder` (made if missing), with threads of its own.
    ///
    /// # Errors
    /// The disk's, or the operating system's where it refuses a thread or random octets.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, free_space: Option<Arc<FreeSpace>>) -> io::Result<Self> {
        disk.make_folder(folder)?;
        let pool = IoPool::start("gatepost-spool", THREADS)?;
        Self::with_pool(disk, folder, Some(pool), free_space)
    }

    /// A spool that works on its caller's thread and takes its folder to be there: for programs that only look, and
    /// for repeatable tests.
    ///
    /// # Errors
    /// Where the operating system has no random octets.
    pub fn inline(disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        Self::with_pool(disk, folder, None, None)
    }

    /// Writes a whole body at once. Blocking.
    ///
    /// # Errors
    /// `Full` without space, `Failed` where the disk fails.
    pub fn store(&self, octets: &[u8]) -> Result<BodyFile, AppendError> {
        let partial = self.begin();
        partial.append(octets)?;
        partial.finish()
    }

    /// The file that a record names.
    #[must_use]
    pub(crate) fn named(&self, name: String, octets: u64, hash: [u8; 32]) -> BodyFile {
        BodyFile { spool: self.clone(), name, octets, hash, kept: AtomicBool::new(true) }
    }

    /// The length of a file. `None`: it is not there.
    ///
    /// # Errors
    /// The disk's: such a file may be there all the same.
    pub(crate) fn file_octets(&self, name: &str) -> io::Result<Option<u64>> {
        match self.shared.disk.open(&self.shared.path(name), true).and_then(|file| file.len()) {
            Ok(octets) => Ok(Some(octets)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes what no record names. Returns how many files that were.
    pub(crate) fn sweep(&self, named: &BTreeSet<String>) -> io::Result<usize> {
        let mut removed = 0_usize;
        for path in self.shared.disk.list(&self.shared.folder)? {
            let known =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| named.contains(name));
            if !known {
                self.shared.disk.remove(&path)?;
                removed = removed.saturating_add(1);
            }
        }
        Ok(removed)
    }

    pub(super) fn begin(&self) -> PartialFile {
        let number = self.shared.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:016x}-{number:x}{NAME_SUFFIX}", self.shared.name_prefix);
        PartialFile { spool: self.clone(), name, state: Mutex::default() }
    }

    /// Runs blocking work on the spool's threads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, AppendError> + Send + 'static,
    ) -> Result<T, AppendError> {
        match &self.shared.pool {
            Some(pool) => pool.run(job).await.unwrap_or(Err(AppendError::Failed)),
            None => job(),
        }
    }

    fn with_pool(
        disk: Arc<dyn Disk>,
        folder: &Path,
        pool: Option<IoPool>,
        free_space: Option<Arc<FreeSpace>>,
    ) -> io::Result<Self> {
        let name_prefix = getrandom::u64().map_err(|_| io::ErrorKind::Unsupported)?;
        let folder = folder.to_owned();
        let names = AtomicU64::new(0);
        Ok(Self { shared: Arc::new(Shared { disk, folder, pool, free_space, name_prefix, names }) })
    }

    /// Removes a file off the caller's thread. Where that fails the next opening of the queue sweeps it.
    fn remove(&self, name: &str) {
        let path = self.shared.path(name);
        let disk = Arc::clone(&self.shared.disk);
        let job = move || {
            if let Err(error) = disk.remove(&path) {
                tracing::debug!(path = %path.display(), %error, "a body file could not be removed");
            }
        };
        match &self.shared.pool {
            Some(pool) => pool.detach(job),
            None => job(),
        }
    }
}

// === impl Shared ===

impl Shared {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("folder", &self.folder).finish_non_exhaustive()
    }
}

// === impl BodyFile ===

impl BodyFile {
    /// Its name within the spool's folder, `[0-9a-z.-]`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// BLAKE3 of its octets.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// A blocking reader. At the end of a file that is not what was written it fails with `InvalidData`.
    ///
    /// # Errors
    /// The disk's.
    pub fn reader(&self) -> io::Result<impl Read + Send + 'static> {
        let file = self.spool.shared.disk.open(&self.spool.shared.path(&self.name), true)?;
        let hasher = blake3::Hasher::new();
        Ok(VerifyingReader { file, hasher, offset: 0, octets: self.octets, hash: self.hash })
    }

    /// A durable record names the file now: it outlives its handles.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// No record names the file any more: it goes with its last handle.
    pub(crate) fn release(&self) {
        self.kept.store(false, Ordering::Release);
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire) {
            self.spool.remove(&self.name);
        }
    }
}

// === impl PartialFile ===

impl PartialFile {
    /// Appends; after a failure nothing more is written and the failure stands.
    pub(super) fn append(&self, octets: &[u8]) -> Result<(), AppendError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = state.failed {
            return Err(failed);
        }
        let appended = self.try_append(&mut state, octets);
        state.failed = appended.err();
        appended
    }

    /// Flushes the file and its folder.
    pub(super) fn finish(&self) -> Result<BodyFile, AppendError> {
        self.append(&[])?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = state.file.as_ref().map_or(Ok(()), |file| file.flush());
        flushed
            .and_then(|()| self.spool.shared.disk.flush_folder(&self.spool.shared.folder))
            .map_err(|e| blame(&e))?;
        state.finished = true;
        let hash = *state.hasher.finalize().as_bytes();
        let (spool, name) = (self.spool.clone(), self.name.clone());
        Ok(BodyFile { spool, name, octets: state.octets, hash, kept: AtomicBool::new(false) })
    }

    fn try_append(&self, state: &mut PartialState, octets: &[u8]) -> Result<(), AppendError> {
        if self.spool.shared.free_space.as_ref().is_some_and(|space| space.is_low()) {
            return Err(AppendError::Full);
        }
        let file = match &mut state.file {
            Some(file) => file,
            none => none.insert(
                self.spool.shared.disk.create(&self.spool.shared.path(&self.name)).map_err(|e| blame(&e))?,
            ),
        };
        file.write_all_at(state.octets, &[IoSlice::new(octets)]).map_err(|e| blame(&e))?;
        state.hasher.update(octets);
        state.octets = state.octets.saturating_add(octets.len() as u64);
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.file.is_some() && !state.finished {
            self.spool.remove(&self.name);
        }
    }
}

impl std::fmt::Debug for PartialState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartialState").field("octets", &self.octets).field("failed", &self.failed).finish()
    }
}

// === impl VerifyingReader ===

impl Read for VerifyingReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.octets.saturating_sub(self.offset);
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(into.len());
        let Some(into) = into.get_mut(..wanted).filter(|into| !into.is_empty()) else { return Ok(0) };
        let count = self.file.read_at(self.offset, into)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(into.get(..count).unwrap_or_default());
        self.offset = self.offset.saturating_add(count as u64);
        // Told together with the last octets: a reader that stops at the length it knows would never ask again.
        if self.offset == self.octets && self.hasher.finalize() != self.hash {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the body file was damaged on disk"));
        }
        Ok(count)
    }
}

/// Whom a failed call is to be blamed on: the space or the disk.
fn blame(error: &io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero => {
            AppendError::Full
        }
        _ => {
            tracing::error!(%error, "a body file could not be written");
            AppendError::Failed
        }
    }
}

/// Enough to keep a disk busy; each holds at most a settled part of one body.
const THREADS: usize = 4;
const NAME_SUFFIX: &str = ".body";
