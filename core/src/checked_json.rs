//! Small files of state: a title, a checksum, and JSON.
//!
//! ```text
//! TITLE VERSION CRC32C\n     the checksum of all that follows, as eight hexadecimal digits
//! {...}
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file that cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Not such a file, or one of another version.
    #[error("it is not one of this version")]
    Version,
    /// Octets have changed.
    #[error("its checksum is wrong")]
    Checksum,
    /// It does not have what it should, or more than there can be.
    #[error("it has another form than it should")]
    Form,
}

/// The octets of a file. `title` has the version and ends with a blank; the same value gives the same octets. What has no form
/// in JSON, such as a map whose keys are no texts, gives a file that `read` refuses.
#[must_use]
pub fn write(title: &str, value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut octets = format!("{title}{:08x}\n", crc32c::crc32c(&json)).into_bytes();
    octets.extend_from_slice(&json);
    octets
}

/// The value that `write` has written under this title.
///
/// # Errors
/// The file cannot be believed.
pub fn read<T: DeserializeOwned>(title: &str, octets: &[u8]) -> Result<T, Damaged> {
    let rest = octets.strip_prefix(title.as_bytes()).ok_or(Damaged::Version)?;
    let (checksum, json) = rest.split_at_checked(CHECKSUM_OCTETS).ok_or(Damaged::Checksum)?;
    let json = json.strip_prefix(b"\n").ok_or(Damaged::Checksum)?;
    if format!("{:08x}", crc32c::crc32c(json)).as_bytes() != checksum {
        return Err(Damaged::Checksum);
    }
    serde_json::from_slice(json).map_err(|_| Damaged::Form)
}

/// In hexadecimal.
const CHECKSUM_OCTETS: usize = 8;
