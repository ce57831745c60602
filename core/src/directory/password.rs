//! A password on its way through: prepared, never kept, never shown.

use std::fmt;

use zeroize::Zeroizing;

/// A password after SASLprep (RFC 4013). Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// The octets are no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing is left of it.
    #[error("the password is empty")]
    Empty,
    /// Longer than the limit.
    #[error("the password is longer than {OCTETS_MAX} octets")]
    TooLong,
    /// Not UTF-8, or control and other characters that SASLprep prohibits.
    #[error("the password has characters that cannot be typed in every client (RFC 4013)")]
    Prohibited,
}

// === impl Password ===

impl Password {
    /// Prepares what a user has typed.
    ///
    /// # Errors
    /// Empty, longer than 1,024 octets, not UTF-8, or characters that RFC 4013 prohibits (NUL and other controls).
    pub fn prepare(octets: &[u8]) -> Result<Self, PasswordError> {
        if octets.len() > OCTETS_MAX {
            return Err(PasswordError::TooLong);
        }
        let text = std::str::from_utf8(octets).map_err(|_| PasswordError::Prohibited)?;
        let prepared = stringprep::saslprep(text).map_err(|_| PasswordError::Prohibited)?.into_owned();
        let prepared = Zeroizing::new(prepared);
        if prepared.is_empty() {
            return Err(PasswordError::Empty);
        }
        Ok(Self(prepared))
    }

    /// For the hash functions alone.
    #[must_use]
    pub(super) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Redacted.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Longer than any passphrase, short enough that hashing it costs no more than hashing a short one.
pub const OCTETS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compatible_forms_of_a_password_are_the_same_password() {
        // RFC 4013 section 3: soft hyphen is mapped to nothing, U+00AA to `a`, U+2168 to `IX`.
        for (typed, prepared) in [("I\u{ad}X", "IX"), ("user", "user"), ("\u{aa}", "a"), ("\u{2168}", "IX")] {
            assert_eq!(Password::prepare(typed.as_bytes()).unwrap().expose(), prepared.as_bytes());
        }
    }

    #[test]
    fn what_no_client_can_type_is_refused() {
        assert_eq!(Password::prepare(b""), Err(PasswordError::Empty));
        assert_eq!(Password::prepare("\u{ad}".as_bytes()), Err(PasswordError::Empty));
        assert_eq!(Password::prepare(b"a\0b"), Err(PasswordError::Prohibited));
        assert_eq!(Password::prepare(b"\x07"), Err(PasswordError::Prohibited));
        assert_eq!(Password::prepare("\u{627}1".as_bytes()), Err(PasswordError::Prohibited));
        assert_eq!(Password::prepare(b"\xff\xfe"), Err(PasswordError::Prohibited));
        assert!(Password::prepare(&[b'a'; OCTETS_MAX]).is_ok());
        assert_eq!(Password::prepare(&[b'a'; OCTETS_MAX + 1]), Err(PasswordError::TooLong));
    }

    #[test]
    fn debug_output_does_not_show_it() {
        assert_eq!(format!("{:?}", Password::prepare(b"pencil").unwrap()), "Password(..)");
    }
}
