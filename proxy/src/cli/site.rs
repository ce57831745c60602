//! What most commands need first: the configuration and the data folder.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use gatepost_core::directory::Directory;

use super::output::complain;
use super::{Exit, Failure, Place};
use crate::config::{self, Config};
use crate::data_folder::{DataFolder, Environment, FolderError};
use crate::first_run;

/// The installation that a command works on.
pub(super) struct Site {
    place: Place,
    config: OnceCell<Config>,
}

// === impl Site ===

impl Site {
    /// As the arguments name it; nothing is read yet.
    pub(super) const fn new(place: Place) -> Self {
        Self { place, config: OnceCell::new() }
    }

    /// The configuration, read once: the file's, or the embedded default.
    pub(super) fn config(&self) -> Result<&Config, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = self.read_config()?;
        Ok(self.config.get_or_init(|| config))
    }

    /// The configuration as it is now: for a reload.
    pub(super) fn read_config(&self) -> Result<Config, Failure> {
        match &self.place.config {
            Some(path) => Config::load(path).map_err(|problems| Failure::new(Exit::Configuration, problems)),
            None => Ok(Config::embedded_default()),
        }
    }

    /// The configuration file, if there is one.
    pub(super) fn config_file(&self) -> Option<&Path> {
        self.place.config.as_deref()
    }

    /// The data folder that the arguments name.
    pub(super) fn named_data(&self) -> Option<&Path> {
        self.place.data.as_deref()
    }

    /// The data folder, made if it is missing.
    pub(super) fn prepare_data(&self) -> Result<DataFolder, Failure> {
        DataFolder::prepare(self.locate_data()?).map_err(|error| folder_failure(&error))
    }

    /// The data folder, which must be there. It is all that is wanted, so a mistake elsewhere in the configuration is told and
    /// stands in nobody's way: the queue of a running server is looked after while somebody mends its configuration.
    pub(super) fn data(&self) -> Result<DataFolder, Failure> {
        DataFolder::open(self.find_data()?).map_err(|error| folder_failure(&error))
    }

    /// The directory of the data folder, which must be there.
    pub(super) fn directory(&self) -> Result<Directory, Failure> {
        first_run::open_directory(&self.data()?).map_err(Failure::general)
    }

    /// As `directory`, but both are made if they are missing, so that accounts can come first.
    pub(super) fn prepare_directory(&self) -> Result<Directory, Failure> {
        first_run::open_directory(&self.prepare_data()?).map_err(Failure::general)
    }

    /// Where the data folder is to be.
    pub(super) fn locate_data(&self) -> Result<PathBuf, Failure> {
        let named = match &self.place.data {
            Some(named) => Some(named.as_path()),
            None => self.config()?.data.as_deref(),
        };
        locate(named)
    }

    /// As `locate_data`, out of a configuration with mistakes as well, as long as it says where the folder is.
    fn find_data(&self) -> Result<PathBuf, Failure> {
        let failure = match (&self.place.data, self.config()) {
            (Some(named), _) => return locate(Some(named)),
            (None, Ok(config)) => return locate(config.data.as_deref()),
            (None, Err(failure)) => failure,
        };
        let Some(named) = self.place.config.as_deref().and_then(config::data_beside_mistakes) else {
            return Err(failure);
        };
        let found = locate(Some(&named))?;
        let folder = found.display();
        complain(&format_args!(
            "{failure}\ngatepost: the configuration has mistakes; going on with {folder}"
        ));
        Ok(found)
    }
}

fn locate(named: Option<&Path>) -> Result<PathBuf, Failure> {
    DataFolder::locate(named, &Environment::of_this_process()).map_err(|error| folder_failure(&error))
}

/// Which exit code an unusable data folder gives.
pub(super) fn folder_failure(error: &FolderError) -> Failure {
    let exit = match error {
        FolderError::Unknown
        | FolderError::Exposed { .. }
        | FolderError::OpenToAll { .. }
        | FolderError::Overlap { .. }
        | FolderError::Foreign { .. } => Exit::Configuration,
        FolderError::Missing { .. } => Exit::Failure,
        FolderError::Io { .. } | FolderError::NotAFolder { .. } => Exit::CannotCreate,
        FolderError::Locked { .. } => Exit::Unavailable,
    };
    Failure::new(exit, error)
}
