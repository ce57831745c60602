//! Reads the keys that mail is signed with.

use std::path::{Path, PathBuf};

use gatepost_core::dkim::{InvalidKey, Signer, Signers, SigningKey};

use crate::config::Config;
use crate::data_folder::FolderError;
use crate::private;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Others may read it, or it cannot be read.
    #[error(transparent)]
    File(#[from] FolderError),
    /// It is no key.
    #[error("{path}: {error}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: InvalidKey,
    },
}

/// All signers of the configuration.
///
/// # Errors
/// A key cannot be used.
pub fn load(config: &Config) -> Result<Signers, KeyFileError> {
    let signers = config.dkim.iter().map(|written| {
        let key = load_key(&written.key)?;
        Ok(Signer::new(written.domain.as_str(), written.selector.selector(), key))
    });
    signers.collect::<Result<_, KeyFileError>>().map(Signers::new)
}

/// One key.
///
/// # Errors
/// It cannot be used.
pub fn load_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    let text = private::read(path, FILE_OCTETS_MAX)?;
    SigningKey::from_pem(&text).map_err(|error| KeyFileError::Invalid { path: path.to_owned(), error })
}

/// An RSA key of 4096 bits has 3,300.
const FILE_OCTETS_MAX: u64 = 64 * 1024;
