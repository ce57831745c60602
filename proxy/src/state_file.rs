//! A file of the data folder with what the server has learned, for the next run to go on with.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_blocking};

use crate::data_folder::DataFolder;

/// Writes the file now and then, and when it is closed. Dropped, it writes no more.
#[derive(Debug)]
pub(crate) struct StateFile {
    keeper: Arc<Keeper>,
    task: AbortHandle,
}

struct Keeper {
    folder: DataFolder,
    name: &'static str,
    what: &'static str,
    /// All that there is to keep, as octets: the same for the same.
    remember: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// What the file has. Held while it is written, so that writes come one after the other.
    written: Mutex<Vec<u8>>,
}

/// What a file of the last run has; `None` where there is none. One that cannot be read, or is larger than `octets_max`, is told
/// and does not count. `what` is what it keeps, in the plural. Blocks on the disk.
pub(crate) fn read(path: &Path, what: &str, octets_max: u64) -> Option<Vec<u8>> {
    let octets = fs::metadata(path).and_then(|found| {
        if found.len() > octets_max { Err(io::ErrorKind::FileTooLarge.into()) } else { fs::read(path) }
    });
    match octets {
        Ok(octets) => Some(octets),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "{what} of the last run cannot be read");
            None
        }
    }
}

// === impl StateFile ===

impl StateFile {
    /// Keeps what `remember` answers in the file of this name. Must be called inside a tokio runtime.
    pub(crate) fn keep(
        folder: DataFolder,
        name: &'static str,
        what: &'static str,
        remember: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let keeper =
            Arc::new(Keeper { folder, name, what, remember: Box::new(remember), written: Mutex::default() });
        let task = tokio::spawn(keep(Arc::clone(&keeper))).abort_handle();
        Self { keeper, task }
    }

    /// Writes for the last time.
    pub(crate) async fn close(self) {
        self.task.abort();
        write(Arc::clone(&self.keeper)).await;
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(keeper: Arc<Keeper>) {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        write(Arc::clone(&keeper)).await;
    }
}

async fn write(keeper: Arc<Keeper>) {
    // A panic would have been told by its hook; there is nothing to mend here.
    let _ = spawn_blocking(move || keeper.write()).await;
}

// === impl Keeper ===

impl Keeper {
    fn write(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let octets = (self.remember)();
        if *written == octets {
            return;
        }
        match self.folder.replace(self.name, &octets) {
            Ok(_) => *written = octets,
            Err(error) => tracing::warn!(%error, "{} cannot be written: a restart forgets them", self.what),
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a crash may cost.
const WRITE_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_file_is_written_when_something_is_new_and_at_the_end() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        let path = outer.path().join("data/some.state");
        let file = StateFile::keep(folder, "some.state", "things", || b"learned".to_vec());
        assert!(!path.exists());
        tokio::time::sleep(WRITE_EVERY + Duration::from_secs(1)).await;
        file.keeper.write();
        let first = fs::metadata(&path).unwrap().modified().unwrap();
        file.keeper.write();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), first);
        fs::remove_file(&path).unwrap();
        file.keeper.written.lock().unwrap().clear();
        file.close().await;
        assert_eq!(read(&path, "things", 7).as_deref(), Some(&b"learned"[..]));
        assert_eq!(read(&path, "things", 6), None, "larger than it may be");
    }
}
