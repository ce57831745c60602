//! Keeps the times at which mail to other servers was paused in a file of the data folder: mail does not age by them.

use gatepost_core::delivery::remote::Pauses;

use crate::config::Config;
use crate::data_folder::DataFolder;
use crate::state_file::{self, StateFile};

/// What the file has, to go on with. A damaged one is told and does not count. Blocks on the disk.
#[must_use]
pub fn recall(folder: &DataFolder) -> Pauses {
    let (pauses, path) = (Pauses::default(), folder.pauses());
    if let Some(octets) = state_file::read(&path, KEPT, FILE_OCTETS_MAX)
        && let Err(error) = pauses.recall(&octets)
    {
        tracing::warn!(path = %path.display(), %error, "{KEPT} of the last run are lost: their file is damaged");
    }
    pauses
}

/// Keeps them; `None` where no mail leaves this server. Must be called inside a tokio runtime.
pub(crate) fn keep(config: &Config, folder: &DataFolder, pauses: Pauses) -> Option<StateFile> {
    config.remote.as_ref()?;
    Some(StateFile::keep(folder.clone(), DataFolder::PAUSES, KEPT, move || pauses.remember()))
}

const KEPT: &str = "pauses of mail to other servers";
/// Far above what they take.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;
