//! RFC 5321 section 4.1.2: mailboxes and paths.

/// A mailbox whose parts were checked against the grammar; at most 64 + 1 + 255 octets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    local_part: String,
    domain: Domain,
}

/// What stands right of the `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// A dotted name as it was written (A-labels or, with SMTPUTF8, U-labels).
    Name(String),
    /// `[192.0.2.1]`, `[IPv6:...]`.
    Address(std::net::IpAddr),
}

/// The argument of `MAIL FROM:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: a notification, never answered with another one.
    Null,
    /// `<local@domain>`, its source route dropped.
    Mailbox(Mailbox),
}

/// The argument of `RCPT TO:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain (RFC 5321 section 4.1.1.3).
    Postmaster,
    /// `<local@domain>`, its source route dropped.
    Mailbox(Mailbox),
}

/// The text is no mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a mailbox (RFC 5321 section 4.1.2)")]
pub struct InvalidMailbox;

// === impl Mailbox ===

impl std::str::FromStr for Mailbox {
    type Err = InvalidMailbox;

    /// Reads `local@domain` without angle brackets, quoted local parts and SMTPUTF8 included.
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}

impl Mailbox {
    /// The local part with quoting removed: `"a b"@x` gives `a b`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// What stands right of the `@`.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether it can only travel with SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        todo!()
    }
}

/// As on the wire, quoted where the grammar asks for it: `Display` and `FromStr` are inverse.
impl std::fmt::Display for Mailbox {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
impl std::fmt::Display for Domain {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
/// With angle brackets.
impl std::fmt::Display for ReversePath {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
/// With angle brackets.
impl std::fmt::Display for ForwardPath {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
/// With angle brackets, as `Display` writes it.
impl std::str::FromStr for ReversePath {
    type Err = InvalidMailbox;
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}
/// With angle brackets, as `Display` writes it.
impl std::str::FromStr for ForwardPath {
    type Err = InvalidMailbox;
    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}
