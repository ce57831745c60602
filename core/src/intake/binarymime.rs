//! BINARYMIME (RFC 3030) to CRLF lines.

/// The message cannot be re-encoded: 554 5.6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinaryMimeError {
    /// Its MIME structure or headers are not lines.
    #[error("the message cannot be converted from BINARYMIME")]
    Inconvertible,
}

/// Re-encodes a BINARYMIME message so that it is legal as 8BITMIME: every leaf part that is not CRLF lines becomes
/// base64.
pub fn reencode(_message: &[u8]) -> Result<Vec<u8>, BinaryMimeError> {
    todo!()
}
