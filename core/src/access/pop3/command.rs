//! One line to one command. Keywords in any case; arguments are separated by one space (RFC 1939 section 3).

use zeroize::Zeroizing;

/// A command with valid arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// `CAPA` (RFC 2449 section 5).
    Capa,
    /// `STLS` (RFC 2595 section 4).
    Stls,
    /// `UTF8` (RFC 6856 section 2).
    Utf8,
    /// `USER name`.
    User(String),
    /// `PASS string`: all behind the space, spaces too.
    Pass(Secret),
    /// `AUTH mechanism [initial-response]` (RFC 5034 section 4).
    Auth {
        /// Upper case.
        mechanism: String,
        /// Still base64; `=` is an empty one.
        initial_response: Option<Secret>,
    },
    /// `STAT`.
    Stat,
    /// `LIST [msg]`.
    List(Option<usize>),
    /// `UIDL [msg]`.
    Uidl(Option<usize>),
    /// `RETR msg`.
    Retr(usize),
    /// `TOP msg n`.
    Top {
        /// The message's number.
        message: usize,
        /// Lines of the body.
        lines: u64,
    },
    /// `DELE msg`.
    Dele(usize),
    /// `NOOP`.
    Noop,
    /// `RSET`.
    Rset,
    /// `QUIT`.
    Quit,
}

/// A part of a line that may be a password: wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) Zeroizing<Vec<u8>>);

/// The line is no command of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid {
    /// Not a keyword that we know.
    Unknown,
    /// A keyword with arguments that it does not take.
    Arguments,
}

// === impl Command ===

impl Command {
    /// Reads a line without its CRLF.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Invalid> {
        let mut parts = line.splitn(2, |octet| *octet == b' ');
        let keyword = parts.next().unwrap_or_default().to_ascii_uppercase();
        let arguments = parts.next();
        let alone = |command: Self| if arguments.is_none() { Ok(command) } else { Err(Invalid::Arguments) };
        match keyword.as_slice() {
            b"CAPA" => alone(Self::Capa),
            b"STLS" => alone(Self::Stls),
            b"UTF8" => alone(Self::Utf8),
            b"STAT" => alone(Self::Stat),
            b"NOOP" => alone(Self::Noop),
            b"RSET" => alone(Self::Rset),
            b"QUIT" => alone(Self::Quit),
            b"USER" => text(arguments).map(Self::User),
            b"PASS" => some(arguments).map(|octets| Self::Pass(Secret::new(octets))),
            b"AUTH" => auth(arguments),
            b"LIST" => arguments.map(number).transpose().map(Self::List),
            b"UIDL" => arguments.map(number).transpose().map(Self::Uidl),
            b"RETR" => some(arguments).and_then(number).map(Self::Retr),
            b"DELE" => some(arguments).and_then(number).map(Self::Dele),
            b"TOP" => top(arguments),
            _ => Err(Invalid::Unknown),
        }
    }
}

// === impl Secret ===

impl Secret {
    pub(super) fn new(octets: &[u8]) -> Self {
        Self(Zeroizing::new(octets.to_vec()))
    }
}

/// Redacted.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// ```text
/// auth-command = "AUTH" SP mechanism [SP initial-response] ; RFC 5034 section 4
/// ```
fn auth(arguments: Option<&[u8]>) -> Result<Command, Invalid> {
    let mut parts = some(arguments)?.splitn(2, |octet| *octet == b' ');
    let mechanism = text(parts.next())?.to_ascii_uppercase();
    let initial_response = parts.next().map(Secret::new);
    Ok(Command::Auth { mechanism, initial_response })
}

/// ```text
/// "TOP" SP msg SP n ; RFC 1939 section 7
/// ```
fn top(arguments: Option<&[u8]>) -> Result<Command, Invalid> {
    let mut parts = some(arguments)?.splitn(2, |octet| *octet == b' ');
    let message = some(parts.next()).and_then(number)?;
    let lines = some(parts.next()).and_then(digits)?;
    Ok(Command::Top { message, lines })
}

/// A message's number: decimal, counted from 1.
fn number(octets: &[u8]) -> Result<usize, Invalid> {
    match usize::try_from(digits(octets)?) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Invalid::Arguments),
    }
}

/// Nothing but digits: no sign, no space. What does not fit is refused.
fn digits(octets: &[u8]) -> Result<u64, Invalid> {
    let text = std::str::from_utf8(octets).map_err(|_| Invalid::Arguments)?;
    if !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Invalid::Arguments);
    }
    text.parse().map_err(|_| Invalid::Arguments)
}

fn text(octets: Option<&[u8]>) -> Result<String, Invalid> {
    std::str::from_utf8(some(octets)?).map(str::to_owned).map_err(|_| Invalid::Arguments)
}

fn some(octets: Option<&[u8]>) -> Result<&[u8], Invalid> {
    octets.filter(|octets| !octets.is_empty()).ok_or(Invalid::Arguments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_read_in_any_case() {
        for (line, command) in [
            ("capa", Command::Capa),
            ("Stls", Command::Stls),
            ("USER Me@localhost", Command::User("Me@localhost".to_owned())),
            ("PASS a b ", Command::Pass(Secret::new(b"a b "))),
            ("auth plain", Command::Auth { mechanism: "PLAIN".to_owned(), initial_response: None }),
            ("AUTH PLAIN =", auth_plain(b"=")),
            ("AUTH PLAIN AG1l", auth_plain(b"AG1l")),
            ("LIST", Command::List(None)),
            ("LIST 7", Command::List(Some(7))),
            ("UIDL 007", Command::Uidl(Some(7))),
            ("TOP 1 0", Command::Top { message: 1, lines: 0 }),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line:?}");
        }
    }

    #[test]
    fn wrong_arguments_are_told_from_unknown_keywords() {
        for line in [
            "CAPA x",
            "NOOP ",
            "USER",
            "USER ",
            "PASS",
            "PASS ",
            "AUTH",
            "AUTH ",
            "RETR",
            "RETR 0",
            "RETR -1",
            "RETR +1",
            "RETR 1 2",
            "RETR  1",
            "RETR 1x",
            "RETR 99999999999999999999",
            "TOP 1",
            "TOP 1 ",
            "TOP 1 -1",
            "TOP 1 2 3",
            "DELE x",
            "LIST ",
            "LIST 0",
            "UIDL a",
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Err(Invalid::Arguments), "{line:?}");
        }
        for line in ["", " ", "APOP me x", " NOOP", "NOOP\t", "LAST", "XTND"] {
            assert_eq!(Command::parse(line.as_bytes()), Err(Invalid::Unknown), "{line:?}");
        }
    }

    #[test]
    fn debug_output_does_not_show_passwords() {
        assert_eq!(format!("{:?}", Command::parse(b"PASS pencil")), "Ok(Pass(Secret(..)))");
        assert!(!format!("{:?}", Command::parse(b"AUTH PLAIN AG1l")).contains("AG1l"));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(
            keyword in "(TOP|LIST|RETR|AUTH|USER|PASS|[A-Z]{0,5})",
            arguments in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let _ = Command::parse(&[keyword.as_bytes(), b" ", &arguments].concat());
            let _ = Command::parse(&arguments);
        }
    }

    fn auth_plain(response: &[u8]) -> Command {
        Command::Auth { mechanism: "PLAIN".to_owned(), initial_response: Some(Secret::new(response)) }
    }
}
