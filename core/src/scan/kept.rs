//! What engines have said of items, kept in files for the next run: one for each engine, replaced whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;

use super::SealKey;
use super::item_verdicts::{Changes, ITEMS_MAX, ItemVerdicts};
use super::verdict_file::{self, FRAME_OCTETS_MAX, Recalled, Unusable, VERDICT_OCTETS_MAX};
use crate::disk::Disk;
use crate::disk::files::{remove_if_there, replace};

/// A folder of its own for these files. Cheap to clone.
///
/// ```text
/// ENGINE.verdicts   see `verdict_file`
/// ENGINE.new        the next one, being written
/// ENGINE.damaged    the last one that could not be believed
/// ```
#[derive(Clone)]
pub struct VerdictFolder {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    key: SealKey,
}

/// The file of one engine.
pub(super) struct VerdictFile {
    folder: VerdictFolder,
    engine: String,
    /// What it has. Held while the file is changed, so that changes come one after the other.
    written: Mutex<Changes>,
    items: IntGauge,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

// === impl VerdictFolder ===

impl VerdictFolder {
    /// This folder, which need not exist; files are sealed with this key.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, root: &Path, key: SealKey) -> Self {
        Self { disk, root: root.to_owned(), key }
    }

    /// Makes the folder, and removes what was left half-written, and files of engines that are not among these.
    pub(super) fn clear_up(&self, engines: &[&str]) {
        let is_in_use = |path: &Path| {
            path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| engines.contains(&stem))
        };
        let is_over = |path: &PathBuf| match path.extension().and_then(|extension| extension.to_str()) {
            Some(NEW) => true,
            Some(VERDICTS | DAMAGED) => !is_in_use(path),
            _ => false,
        };
        let cleared = self.disk.make_folder(&self.root).and_then(|()| {
            let mut old = self.disk.list(&self.root)?.into_iter().filter(is_over);
            old.try_for_each(|path| self.disk.remove(&path))
        });
        if let Err(error) = cleared {
            tracing::warn!(folder = %self.root.display(), %error, "the folder of scan verdicts is not as it should be");
        }
    }

    /// Of the engine with this name, which is plain enough for one of a file. `items` tells how many it has.
    pub(super) fn file(&self, engine: &str, items: IntGauge) -> VerdictFile {
        VerdictFile { folder: self.clone(), engine: engine.to_owned(), written: Mutex::default(), items }
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
        let file = match self.disk.open(path, true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let length = usize::try_from(file.len()?).ok().filter(|length| *length <= FILE_OCTETS_MAX);
        let mut octets = vec![0; length.ok_or(Unusable::TooLarge)?];
        let count = file.read_at(0, &mut octets)?;
        octets.truncate(count);
        Ok(Some(octets))
    }
}

// === impl VerdictFile ===

impl VerdictFile {
    /// What the last run has left. One that cannot be believed is set aside, and costs calls.
    pub(super) fn read(&self) -> Option<Recalled> {
        let path = self.path(VERDICTS);
        match self.recall(&path) {
            Ok(recalled) => recalled,
            Err(error) => {
                let kept = self.folder.disk.rename(&path, &self.path(DAMAGED)).is_ok();
                tracing::warn!(path = %path.display(), %error, set_aside = kept, "verdicts of the last run do not count");
                None
            }
        }
    }

    /// Writes what is remembered, if there is anything new in it.
    pub(super) fn write(&self, verdicts: &ItemVerdicts) {
        let mut written = self.written();
        let Some((draft, changes)) = verdicts.draft(&self.engine, *written) else { return };
        let items = draft.verdicts();
        let octets = draft.sealed(&self.folder.key);
        let (new, path) = (self.path(NEW), self.path(VERDICTS));
        match replace(&*self.folder.disk, &new, &path, &octets) {
            Ok(()) => {
                *written = changes;
                self.items.set(i64::try_from(items).unwrap_or(i64::MAX));
            }
            Err(error) => {
                // It may be what has filled the disk.
                let _gone = self.folder.disk.remove(&new);
                let engine = &self.engine;
                tracing::warn!(engine, %error, "scan verdicts cannot be written: a restart forgets them");
            }
        }
    }

    /// Forgets what is remembered, and what the file has.
    pub(super) fn forget(&self, verdicts: &ItemVerdicts) {
        let mut written = self.written();
        let changes = verdicts.forget();
        let disk = &*self.folder.disk;
        match remove_if_there(disk, &self.path(VERDICTS)).and_then(|()| disk.flush_folder(&self.folder.root))
        {
            Ok(()) => {
                *written = changes;
                self.items.set(0);
            }
            // What is written next takes its place.
            Err(error) => {
                let engine = &self.engine;
                tracing::error!(engine, %error, "scan verdicts cannot be removed: a restart may bring them back");
            }
        }
    }

    fn recall(&self, path: &Path) -> Result<Option<Recalled>, ReadError> {
        let Some(octets) = self.folder.read(path)? else { return Ok(None) };
        let recalled = verdict_file::read(&octets, &self.engine, &self.folder.key)?;
        let items = recalled.verdicts.len();
        self.items.set(i64::try_from(items).unwrap_or(i64::MAX));
        tracing::info!(engine = self.engine, stamp = %recalled.stamp, items, "verdicts of the last run are there");
        Ok(Some(recalled))
    }

    fn written(&self) -> MutexGuard<'_, Changes> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.root.join(format!("{}.{extension}", self.engine))
    }
}

const VERDICTS: &str = "verdicts";
const NEW: &str = "new";
const DAMAGED: &str = "damaged";
/// All that can be remembered, and each with the longest name: 17.6 MiB.
const FILE_OCTETS_MAX: usize = FRAME_OCTETS_MAX + ITEMS_MAX * VERDICT_OCTETS_MAX;

#[cfg(test)]
mod tests;
