//! What rewritten senders are signed with.

use std::fmt;

/// 32 random octets. `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; Self::OCTETS]);

// === impl Secret ===

impl Secret {
    /// As long as SHA-256's output.
    pub(crate) const OCTETS: usize = 32;

    /// A new one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut octets = [0; Self::OCTETS];
        getrandom::fill(&mut octets)?;
        Ok(Self(octets))
    }

    pub(crate) const fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Secret {
    type Error = Vec<u8>;

    fn try_from(octets: Vec<u8>) -> Result<Self, Vec<u8>> {
        octets.try_into().map(Self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
