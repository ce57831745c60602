//! What is scanned in the background.

use std::fmt;

/// Where mail lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the mailboxes of the database of this name.
    Mailboxes(String),
    /// In the queue: put off, held, or not tried yet.
    Queue,
    /// In quarantine.
    Quarantine,
}

// === impl Place ===

impl Place {
    /// As it is written, whichever database it is.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mailboxes(_) => "mailboxes",
            Self::Queue => "queue",
            Self::Quarantine => "quarantine",
        }
    }

    /// The database; `None` where it is none.
    #[must_use]
    pub const fn database(&self) -> Option<&str> {
        match self {
            Self::Mailboxes(name) => Some(name.as_str()),
            Self::Queue | Self::Quarantine => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        self.database().map_or(Ok(()), |name| write!(f, " of {name}"))
    }
}
