//! Octets of a container, read from the front. Each format adds what it has of its own.

/// What is still to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

// === impl Reader ===

impl<'a> Reader<'a> {
    /// The next octets; `None` where there are fewer.
    pub(super) fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(octets)?;
        self.0 = rest;
        Some(taken)
    }
}
