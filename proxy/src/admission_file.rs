//! Keeps what admission knows in a file of the data folder.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_blocking};

use crate::admission::Admission;
use crate::admission::remembered::Moment;
use crate::data_folder::DataFolder;

/// Writes the file now and then, and when it is closed. Dropped, it writes no more.
#[derive(Debug)]
pub struct AdmissionFile {
    keeper: Arc<Keeper>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Keeper {
    admission: Arc<Admission>,
    folder: DataFolder,
    /// What the file has. Held while it is written, so that writes come one after the other.
    written: Mutex<Vec<u8>>,
}

// === impl AdmissionFile ===

impl AdmissionFile {
    /// Takes over what the file has, and keeps it from now on. A damaged file is told and does not count. Blocks on the disk; must be called inside a tokio runtime.
    #[must_use]
    pub fn open(admission: Arc<Admission>, folder: DataFolder) -> Self {
        recall(&admission, &folder);
        let keeper = Arc::new(Keeper { admission, folder, written: Mutex::default() });
        let task = tokio::spawn(keep(Arc::clone(&keeper))).abort_handle();
        Self { keeper, task }
    }

    /// Writes for the last time.
    pub async fn close(self) {
        self.task.abort();
        write(Arc::clone(&self.keeper)).await;
    }
}

impl Drop for AdmissionFile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn recall(admission: &Admission, folder: &DataFolder) {
    let path = folder.admission();
    let octets = match fs::metadata(&path).and_then(|found| match found.len() {
        0..=FILE_OCTETS_MAX => fs::read(&path),
        _ => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
    }) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "bans and known places of the last run cannot be read");
            return;
        }
    };
    match admission.recall(&octets, Moment::now()) {
        Ok(entries) => tracing::info!(entries, "bans, lock-outs and known places of the last run hold again"),
        Err(error) => tracing::warn!(
            path = %path.display(),
            %error,
            "bans, lock-outs and known places of the last run are lost: their file is damaged",
        ),
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
        let octets = self.admission.remember(Moment::now());
        if *written == octets {
            return;
        }
        match self.folder.replace(DataFolder::ADMISSION, &octets) {
            Ok(_) => *written = octets,
            Err(error) => {
                tracing::warn!(%error, "bans and known places cannot be written: a restart forgets them");
            }
        }
    }
}

/// What a crash may cost.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Twice what the file has at most.
const FILE_OCTETS_MAX: u64 = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    fn admission() -> Arc<Admission> {
        crate::testing::admission(&Registry::new(), &crate::config::Admission::default())
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_written_when_something_is_new_and_at_the_end() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        let file = AdmissionFile::open(admission(), folder.clone());
        assert!(!folder.admission().exists());
        tokio::time::sleep(WRITE_EVERY + Duration::from_secs(1)).await;
        file.keeper.write();
        let first = fs::metadata(folder.admission()).unwrap().modified().unwrap();
        file.keeper.write();
        assert_eq!(fs::metadata(folder.admission()).unwrap().modified().unwrap(), first);
        fs::remove_file(folder.admission()).unwrap();
        file.keeper.written.lock().unwrap().clear();
        file.close().await;
        assert!(folder.admission().exists());
    }

    #[tokio::test]
    async fn a_damaged_or_huge_file_does_not_keep_the_server_from_starting() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        fs::write(folder.admission(), "gatepost-admission 1 00000000\n{}").unwrap();
        AdmissionFile::open(admission(), folder.clone()).close().await;
        assert!(
            admission().recall(&fs::read(folder.admission()).unwrap(), Moment::now()).is_ok(),
            "a new one"
        );
        fs::File::create(folder.admission()).unwrap().set_len(FILE_OCTETS_MAX + 1).unwrap();
        AdmissionFile::open(admission(), folder.clone()).close().await;
        assert!(fs::metadata(folder.admission()).unwrap().len() < 1024);
    }
}
