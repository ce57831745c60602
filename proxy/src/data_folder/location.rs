//! Where the folder is, by whoever has a say in that.

use std::path::{Path, PathBuf};

use super::{DataFolder, FolderError};

/// The environment, as far as the data folder depends on it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `GATEPOST_DATA`
    pub gatepost_data: Option<PathBuf>,
    /// `STATE_DIRECTORY`, which systemd sets; several are separated by colons.
    pub state_directory: Option<PathBuf>,
    /// `XDG_DATA_HOME`
    pub xdg_data_home: Option<PathBuf>,
    /// `HOME`
    pub home: Option<PathBuf>,
}

// === impl Environment ===

impl Environment {
    /// As this process was given it; empty values count as unset.
    #[must_use]
    pub fn of_this_process() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            gatepost_data: variable("GATEPOST_DATA"),
            state_directory: variable("STATE_DIRECTORY"),
            xdg_data_home: variable("XDG_DATA_HOME"),
            home: variable("HOME"),
        }
    }
}

// === impl DataFolder ===

impl DataFolder {
    /// Where the folder is: as `named` (command line before configuration), else by the environment.
    ///
    /// # Errors
    /// `Unknown` where nothing tells.
    pub fn locate(named: Option<&Path>, environment: &Environment) -> Result<PathBuf, FolderError> {
        let below_home = || Some(environment.home.as_ref()?.join(".local/share/gatepost"));
        named
            .map(Path::to_owned)
            .or_else(|| environment.gatepost_data.clone())
            .or_else(|| environment.state_directory.as_deref().and_then(first_of_list))
            .or_else(|| Some(environment.xdg_data_home.as_ref()?.join("gatepost")))
            .or_else(below_home)
            .ok_or(FolderError::Unknown)
    }
}

fn first_of_list(list: &Path) -> Option<PathBuf> {
    let text = list.to_str()?;
    text.split(':').find(|part| !part.is_empty()).map(PathBuf::from)
}
