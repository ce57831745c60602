//! What nobody but its owner may look into: folders, and files with secrets.

use std::fs::{DirBuilder, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::data_folder::FolderError;

/// Makes a folder and its missing parents, mode 0700 each.
///
/// # Errors
/// It cannot be made.
pub fn make_folder(path: &Path) -> Result<(), FolderError> {
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(|error| FolderError::Io { path: path.to_owned(), error })
}

/// Refuses a folder that others may look into or that belongs to others.
///
/// # Errors
/// `Exposed` or `Foreign`, with the way out in the text.
pub fn check_folder(path: &Path) -> Result<(), FolderError> {
    let metadata =
        std::fs::metadata(path).map_err(|error| FolderError::Io { path: path.to_owned(), error })?;
    check(path, &metadata, FOLDER_MODE)
}

/// Reads a file with a secret in it, up to `octets_max`; what is behind them is left out.
///
/// # Errors
/// `Exposed` or `Foreign` where others may read it; `Io` where it cannot be read, or is not UTF-8.
pub fn read(path: &Path, octets_max: u64) -> Result<Zeroizing<String>, FolderError> {
    let io = |error| FolderError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    // Of the open file: the name may be another file's by now.
    check(path, &file.metadata().map_err(io)?, FILE_MODE)?;
    let mut text = Zeroizing::new(String::new());
    file.take(octets_max).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// As `read`, for octets of any kind.
///
/// # Errors
/// As of `read`.
pub fn read_octets(path: &Path, octets_max: u64) -> Result<Zeroizing<Vec<u8>>, FolderError> {
    let io = |error| FolderError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(io)?;
    check(path, &file.metadata().map_err(io)?, FILE_MODE)?;
    let mut octets = Zeroizing::new(Vec::new());
    file.take(octets_max).read_to_end(&mut octets).map_err(io)?;
    Ok(octets)
}

/// Root may use what belongs to anybody: it reads a service's folder for the operator.
fn check(path: &Path, metadata: &Metadata, wanted: u32) -> Result<(), FolderError> {
    let mode = metadata.mode() & PERMISSION_BITS;
    if mode & OTHERS_BITS != 0 {
        return Err(FolderError::Exposed { path: path.to_owned(), mode, wanted });
    }
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != us && us != 0 {
        return Err(FolderError::Foreign { path: path.to_owned(), owner, us });
    }
    Ok(())
}

/// Of the data folder and all folders in it.
pub const FOLDER_MODE: u32 = 0o700;
/// Of keys, databases and everything else.
pub const FILE_MODE: u32 = 0o600;
/// What `chmod` sets.
pub const PERMISSION_BITS: u32 = 0o7777;
const OTHERS_BITS: u32 = 0o077;
