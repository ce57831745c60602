//! RFC 4954: the octets of a SASL exchange.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a client says to prove who it is. Its `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// The text is not base64 (RFC 4648 section 4, padded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64 (RFC 4954 section 4)")]
pub struct InvalidBase64;

// === impl Secret ===

impl Secret {
    /// Wraps decoded octets.
    #[must_use]
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets themselves: for the verification only.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Gives the octets away.
    #[must_use]
    pub fn into_exposed(self) -> Vec<u8> {
        self.0
    }

    /// `*base64-char [base64-terminal]` of RFC 4954 section 8: the client's response line without its CRLF. The empty line
    /// is an empty response.
    ///
    /// # Errors
    /// Where the line is not base64.
    pub fn from_response(text: &[u8]) -> Result<Self, InvalidBase64> {
        quirk_equals_sign(text).map_or_else(|| Self::from_base64(text), Ok)
    }

    /// `initial-response = base64 / "="` of RFC 4954 section 8, where `=` stands for an empty one.
    ///
    /// # Errors
    /// Where the text is empty or not base64.
    pub fn from_initial_response(text: &[u8]) -> Result<Self, InvalidBase64> {
        match text {
            b"=" => Ok(Self(Vec::new())),
            b"" => Err(InvalidBase64),
            text => Self::from_base64(text),
        }
    }

    fn from_base64(text: &[u8]) -> Result<Self, InvalidBase64> {
        STANDARD.decode(text).map(Self).map_err(|_| InvalidBase64)
    }

    /// The reverse of `from_initial_response`.
    #[must_use]
    pub fn to_initial_response(&self) -> String {
        if self.0.is_empty() { "=".to_owned() } else { STANDARD.encode(&self.0) }
    }

    /// The reverse of `from_response`.
    #[must_use]
    pub fn to_response(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} octets)", self.0.len())
    }
}

/// `=` stands for an empty initial response only. libcurl acknowledges the last message of SCRAM with it too, and no
/// base64 is `=`, so nothing else can be meant.
fn quirk_equals_sign(text: &[u8]) -> Option<Secret> {
    (text == b"=").then(|| Secret::new(Vec::new()))
}

/// A challenge as it stands behind `334 `.
#[must_use]
pub fn encode_challenge(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}
