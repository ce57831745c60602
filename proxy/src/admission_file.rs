//! Keeps what admission knows in a file of the data folder.

use std::sync::Arc;

use crate::admission::Admission;
use crate::admission::remembered::Moment;
use crate::data_folder::DataFolder;
use crate::state_file::{self, StateFile};

/// Takes over what the file has, and keeps it from now on. A damaged file is told and does not count. Blocks on the disk; must be
/// called inside a tokio runtime.
pub(crate) fn open(admission: Arc<Admission>, folder: DataFolder) -> StateFile {
    recall(&admission, &folder);
    StateFile::keep(folder, DataFolder::ADMISSION, KEPT, move || admission.remember(Moment::now()))
}

fn recall(admission: &Admission, folder: &DataFolder) {
    let path = folder.admission();
    let Some(octets) = state_file::read(&path, KEPT, FILE_OCTETS_MAX) else { return };
    match admission.recall(&octets, Moment::now()) {
        Ok(entries) => tracing::info!(entries, "{KEPT} of the last run hold again"),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "{KEPT} of the last run are lost: their file is damaged");
        }
    }
}

const KEPT: &str = "bans, lock-outs and known places";
/// Twice what the file has at most.
const FILE_OCTETS_MAX: u64 = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use prometheus::Registry;

    use super::*;

    fn admission() -> Arc<Admission> {
        crate::testing::admission(&Registry::new(), &crate::config::Admission::default())
    }

    #[tokio::test]
    async fn a_damaged_or_huge_file_does_not_keep_the_server_from_starting() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::prepare(outer.path().join("data")).unwrap();
        fs::write(folder.admission(), "gatepost-admission 1 00000000\n{}").unwrap();
        open(admission(), folder.clone()).close().await;
        assert!(
            admission().recall(&fs::read(folder.admission()).unwrap(), Moment::now()).is_ok(),
            "a new one"
        );
        fs::File::create(folder.admission()).unwrap().set_len(FILE_OCTETS_MAX + 1).unwrap();
        open(admission(), folder.clone()).close().await;
        assert!(fs::metadata(folder.admission()).unwrap().len() < 1024);
    }
}
