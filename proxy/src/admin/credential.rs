//! The bearer token that callers of the HTTP side show.

use std::path::Path;

use super::AdminError;
use crate::private;
use crate::telemetry::Secret;

/// A token that was read from a file which nobody else can read.
#[derive(Debug, Clone)]
pub struct Credential(Secret);

// === impl Credential ===

impl Credential {
    /// Reads the token; a newline at its end does not count.
    ///
    /// # Errors
    /// Others may read the file, it cannot be read, or the token is too short, too long or has blanks in it.
    pub fn load(path: &Path) -> Result<Self, AdminError> {
        let text = private::read(path, FILE_OCTETS_MAX)?;
        Self::new(text.trim_end()).ok_or_else(|| AdminError::WeakCredential { path: path.to_owned() })
    }

    fn new(token: &str) -> Option<Self> {
        let is_usable = (TOKEN_MIN..=TOKEN_MAX).contains(&token.len())
            && token.bytes().all(|octet| octet.is_ascii_graphic());
        is_usable.then(|| Self(Secret::new(token.to_owned())))
    }

    /// Whether an `Authorization` header (RFC 6750 section 2.1) shows this token. Takes the same time for every wrong
    /// token of the right length.
    #[must_use]
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|value| value.split_at_checked(SCHEME.len()))
        else {
            return false;
        };
        let equal = aws_lc_rs::constant_time::verify_slices_are_equal(token, self.0.reveal().as_bytes());
        scheme.eq_ignore_ascii_case(SCHEME) && equal.is_ok()
    }
}

const SCHEME: &[u8] = b"Bearer ";
/// 64 bits in hexadecimal: the least that cannot be tried out.
const TOKEN_MIN: usize = 16;
/// Far more than any token generator prints.
const TOKEN_MAX: usize = 256;
/// A token and its newline, and enough more to see that it is too long.
const FILE_OCTETS_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::data_folder::FolderError;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn only_the_token_itself_is_admitted() {
        let credential = Credential::new(TOKEN).unwrap();
        assert!(credential.admits(Some(b"Bearer 0123456789abcdef")));
        assert!(credential.admits(Some(b"bearer 0123456789abcdef")));
        let wrong: [Option<&[u8]>; 6] = [
            None,
            Some(b""),
            Some(b"Bearer "),
            Some(b"Bearer 0123456789abcdeX"),
            Some(b"Bearer 0123456789abcdef0"),
            Some(b"Basic  0123456789abcdef"),
        ];
        for header in wrong {
            assert!(!credential.admits(header), "{header:?}");
        }
    }

    #[test]
    fn a_short_token_or_an_open_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("0123456789abcdef\n", 0o600);
        assert!(Credential::load(&path).unwrap().admits(Some(b"Bearer 0123456789abcdef")));
        write("0123456789abcdef\n", 0o640);
        assert!(matches!(
            Credential::load(&path),
            Err(AdminError::CredentialFile(FolderError::Exposed { .. }))
        ));
        for weak in ["short", "0123456789abcdef with blanks", &"x".repeat(300)] {
            write(weak, 0o600);
            assert!(matches!(Credential::load(&path), Err(AdminError::WeakCredential { .. })), "{weak}");
        }
    }
}
