//! Verbs, their names and the length of their lines.

use super::limits;

/// The first word of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// RFC 5321 section 4.1.1.1.
    Ehlo,
    /// RFC 5321 section 4.1.1.1.
    Helo,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth,
    /// RFC 5321 section 4.1.1.2.
    Mail,
    /// RFC 5321 section 4.1.1.3.
    Rcpt,
    /// RFC 5321 section 4.1.1.4.
    Data,
    /// RFC 3030.
    Bdat,
    /// RFC 5321 section 4.1.1.5.
    Rset,
    /// RFC 5321 section 4.1.1.9.
    Noop,
    /// RFC 5321 section 4.1.1.10.
    Quit,
    /// RFC 5321 section 4.1.1.6.
    Vrfy,
    /// RFC 5321 section 4.1.1.8.
    Help,
    /// Anything else.
    Unknown,
}

// === impl Verb ===

impl Verb {
    const TABLE: [(Self, &'static str); 13] = [
        (Self::Ehlo, "EHLO"),
        (Self::Helo, "HELO"),
        (Self::StartTls, "STARTTLS"),
        (Self::Auth, "AUTH"),
        (Self::Mail, "MAIL"),
        (Self::Rcpt, "RCPT"),
        (Self::Data, "DATA"),
        (Self::Bdat, "BDAT"),
        (Self::Rset, "RSET"),
        (Self::Noop, "NOOP"),
        (Self::Quit, "QUIT"),
        (Self::Vrfy, "VRFY"),
        (Self::Help, "HELP"),
    ];

    /// Splits a line into its verb and everything behind it, the space before an argument included. White space at the
    /// end of the line is dropped, see `quirk_trailing_space`.
    #[must_use]
    pub fn split(line: &[u8]) -> (Self, &[u8]) {
        let line = quirk_trailing_space(line);
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (word, argument) = line.split_at_checked(end).unwrap_or((line, &[]));
        let known = Self::TABLE.iter().find(|(_, name)| word.eq_ignore_ascii_case(name.as_bytes()));
        (known.map_or(Self::Unknown, |(verb, _)| *verb), argument)
    }

    /// Its name in upper case; `?` for an unknown one, since this goes into logs and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::TABLE.iter().find(|(verb, _)| *verb == self).map_or("?", |(_, name)| name)
    }

    /// The longest line it may have, octets, CRLF included.
    #[must_use]
    pub const fn line_octets_max(self) -> usize {
        match self {
            Self::Auth => limits::AUTH_LINE_OCTETS,
            Self::Mail => limits::MAIL_LINE_OCTETS,
            Self::Rcpt => limits::RCPT_LINE_OCTETS,
            _ => limits::COMMAND_LINE_OCTETS,
        }
    }
}

/// RFC 5321 section 4.1.1 asks servers to tolerate white space before the CRLF. It is dropped here, once for all verbs;
/// no value can end with it.
pub(super) fn quirk_trailing_space(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let Some((b' ' | b'\t', shorter)) = text.split_last() {
        text = shorter;
    }
    text
}
