//! Commands: verb and argument (RFC 5321 section 4.1), read in two steps so that a right can be refused before its
//! argument is looked at.

use std::fmt;
use std::str::FromStr;

use nom::Parser;
use nom::bytes::complete::{tag_no_case, take_while1};
use nom::character::complete::{char, digit1};
use nom::combinator::{all_consuming, map_opt, opt, rest, value, verify};
use nom::sequence::{pair, preceded};

use super::auth::Secret;
use super::bdat::Chunk;
use super::client_name::ClientName;
use super::extension::{Exch50, LinkState};
use super::limits;
use super::params::{MailParams, ParamError, RcptParams, decimal};
use super::path::{ForwardPath, Parsed, ReversePath, forward_path, reverse_path};
use super::verb::{Verb, quirk_trailing_space};
use super::xclient::Xclient;

/// A whole command whose arguments are legal. `Display` writes the line without its CRLF; reading that again gives the
/// same command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `EHLO name`.
    Ehlo(ClientName),
    /// `HELO name`.
    Helo(ClientName),
    /// `STARTTLS`.
    StartTls,
    /// `AUTH mechanism [initial-response]`.
    Auth {
        /// Which one; whether it is known is for the session to say.
        mechanism: MechanismName,
        /// Base64 decoded; empty for `=`.
        initial_response: Option<Secret>,
    },
    /// `MAIL FROM:<path> parameters`.
    Mail {
        /// From whom.
        reverse_path: ReversePath,
        /// The parameters.
        params: MailParams,
    },
    /// `RCPT TO:<path> parameters`.
    Rcpt {
        /// To whom.
        forward_path: ForwardPath,
        /// The parameters.
        params: RcptParams,
    },
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]`.
    Bdat(Chunk),
    /// `RSET`.
    Rset,
    /// `NOOP [string]`.
    Noop(Option<Argument>),
    /// `QUIT`.
    Quit,
    /// `VRFY string`.
    Vrfy(Argument),
    /// `HELP [string]`.
    Help(Option<Argument>),
    /// `XEXCH50 size [type]`.
    Xexch50(Exch50),
    /// `X-LINK2STATE [FIRST|NEXT|LAST] CHUNK=data`.
    XLink2State(LinkState),
    /// `X-EXPS mechanism [initial-response]`: AUTH by another name.
    XExps {
        /// As for AUTH.
        mechanism: MechanismName,
        /// As for AUTH.
        initial_response: Option<Secret>,
    },
    /// `XCLIENT name=value ...`.
    Xclient(Xclient),
    /// A verb that is known, with an argument of which nothing is known.
    Line {
        /// The verb.
        verb: Verb,
        /// The rest.
        argument: Option<Argument>,
    },
    /// A well-formed line whose verb Gatepost does not have.
    Unknown {
        /// The verb.
        verb: UnknownVerb,
        /// The rest.
        argument: Option<Argument>,
    },
}

/// Free text of a command: not empty, printable, no space at its ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Argument(String);

/// `sasl-mech = 1*20mech-char` (RFC 4422 section 3.1), upper-case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MechanismName(String);

/// A verb of at most 32 letters, digits and hyphens that Gatepost does not have, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownVerb(String);

/// Why a line is no command. Carries nothing of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SyntaxError {
    /// The first word is no verb at all.
    #[error("no verb")]
    Verb,
    /// An argument is missing, malformed or not allowed.
    #[error("malformed argument")]
    Argument,
    /// MAIL's path is none.
    #[error("malformed reverse-path")]
    ReversePath,
    /// RCPT's path is none.
    #[error("malformed forward-path")]
    ForwardPath,
    /// MAIL or RCPT has a parameter that is not known.
    #[error("unknown parameter")]
    UnknownParameter,
    /// The initial response is not base64.
    #[error("malformed base64")]
    Base64,
}

// === impl Command ===

impl Command {
    /// Reads a line without its CRLF.
    ///
    /// # Errors
    /// Where the line is no command.
    pub fn parse(line: &[u8]) -> Result<Self, SyntaxError> {
        let (verb, argument) = Verb::split(line);
        if verb != Verb::Unknown {
            return Self::parse_argument(verb, argument);
        }
        let line = std::str::from_utf8(quirk_trailing_space(line)).map_err(|_| SyntaxError::Verb)?;
        let (argument, verb) = unknown_verb(line).map_err(|_| SyntaxError::Verb)?;
        Ok(Self::Unknown { verb, argument: optional_argument(argument)? })
    }

    /// Reads what `Verb::split` has left behind a known verb.
    ///
    /// # Errors
    /// Where the argument does not fit the verb; always for `Verb::Unknown`, whose text only `parse` has.
    pub fn parse_argument(verb: Verb, argument: &[u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(argument).map_err(|_| SyntaxError::Argument)?;
        match verb {
            Verb::Ehlo => client_name(text).map(Self::Ehlo),
            Verb::Helo => client_name(text).map(Self::Helo),
            Verb::StartTls => no_argument(text, Self::StartTls),
            Verb::Auth => {
                auth(text).map(|(mechanism, initial_response)| Self::Auth { mechanism, initial_response })
            }
            Verb::Mail => mail(text),
            Verb::Rcpt => rcpt(text),
            Verb::Data => no_argument(text, Self::Data),
            Verb::Bdat => all_consuming(bdat)
                .parse(text)
                .map_or(Err(SyntaxError::Argument), |(_, chunk)| Ok(Self::Bdat(chunk))),
            Verb::Rset => no_argument(text, Self::Rset),
            Verb::Noop => optional_argument(text).map(Self::Noop),
            Verb::Quit => no_argument(text, Self::Quit),
            Verb::Vrfy => optional_argument(text)?.map(Self::Vrfy).ok_or(SyntaxError::Argument),
            Verb::Help => optional_argument(text).map(Self::Help),
            Verb::Xexch50 => Exch50::parse(text).map(Self::Xexch50),
            Verb::XLink2State => LinkState::parse(text).map(Self::XLink2State),
            Verb::XExps => {
                auth(text).map(|(mechanism, initial_response)| Self::XExps { mechanism, initial_response })
            }
            Verb::Xclient => Xclient::parse(text).map(Self::Xclient),
            Verb::XAnonymousTls
            | Verb::Etrn
            | Verb::Atrn
            | Verb::Xforward
            | Verb::Opaque(_)
            | Verb::Forbidden(_) => optional_argument(text).map(|argument| Self::Line { verb, argument }),
            Verb::Http | Verb::Unknown => Err(SyntaxError::Verb),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ehlo(name) => write!(f, "EHLO {name}"),
            Self::Helo(name) => write!(f, "HELO {name}"),
            Self::StartTls => f.write_str("STARTTLS"),
            Self::Auth { mechanism, initial_response } => {
                write_auth(f, Verb::Auth, mechanism, initial_response.as_ref())
            }
            Self::XExps { mechanism, initial_response } => {
                write_auth(f, Verb::XExps, mechanism, initial_response.as_ref())
            }
            Self::Xexch50(argument) => write!(f, "XEXCH50 {argument}"),
            Self::XLink2State(argument) => write!(f, "X-LINK2STATE {argument}"),
            Self::Xclient(argument) => write!(f, "XCLIENT {argument}"),
            Self::Line { verb, argument: None } => f.write_str(verb.name()),
            Self::Line { verb, argument: Some(argument) } => {
                write!(f, "{} {}", verb.name(), argument.as_str())
            }
            Self::Mail { reverse_path, params } => write!(f, "MAIL FROM:{reverse_path}{params}"),
            Self::Rcpt { forward_path, params } => write!(f, "RCPT TO:{forward_path}{params}"),
            Self::Data => f.write_str("DATA"),
            Self::Bdat(Chunk { octets, is_last: false }) => write!(f, "BDAT {octets}"),
            Self::Bdat(Chunk { octets, is_last: true }) => write!(f, "BDAT {octets} LAST"),
            Self::Rset => f.write_str("RSET"),
            Self::Noop(None) => f.write_str("NOOP"),
            Self::Noop(Some(argument)) => write!(f, "NOOP {}", argument.as_str()),
            Self::Quit => f.write_str("QUIT"),
            Self::Vrfy(argument) => write!(f, "VRFY {}", argument.as_str()),
            Self::Help(None) => f.write_str("HELP"),
            Self::Help(Some(argument)) => write!(f, "HELP {}", argument.as_str()),
            Self::Unknown { verb, argument: None } => f.write_str(verb.as_str()),
            Self::Unknown { verb, argument: Some(argument) } => {
                write!(f, "{} {}", verb.as_str(), argument.as_str())
            }
        }
    }
}

fn write_auth(
    f: &mut fmt::Formatter<'_>,
    verb: Verb,
    mechanism: &MechanismName,
    initial_response: Option<&Secret>,
) -> fmt::Result {
    write!(f, "{} {}", verb.name(), mechanism.as_str())?;
    initial_response.map_or(Ok(()), |response| write!(f, " {}", response.to_initial_response()))
}

// === impl Argument ===

impl Argument {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Argument {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let has_space_at_end = text.starts_with(' ') || text.ends_with([' ', '\t']);
        if text.is_empty() || has_space_at_end || text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(SyntaxError::Argument);
        }
        Ok(Self(text.to_owned()))
    }
}

// === impl MechanismName ===

impl MechanismName {
    /// The name in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl UnknownVerb ===

impl UnknownVerb {
    /// The verb as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === The grammar ===

/// `SP ( Domain / address-literal )` behind EHLO and HELO. HELO's grammar has no literal; clients write it all the same,
/// and the name decides nothing.
fn client_name(text: &str) -> Result<ClientName, SyntaxError> {
    text.strip_prefix(' ').and_then(|name| name.parse().ok()).ok_or(SyntaxError::Argument)
}

fn no_argument(text: &str, command: Command) -> Result<Command, SyntaxError> {
    if text.is_empty() { Ok(command) } else { Err(SyntaxError::Argument) }
}

/// `[ SP String ]` behind NOOP, HELP and an unknown verb.
fn optional_argument(text: &str) -> Result<Option<Argument>, SyntaxError> {
    match text.strip_prefix(' ') {
        Some(argument) => argument.parse().map(Some),
        None if text.is_empty() => Ok(None),
        None => Err(SyntaxError::Argument),
    }
}

/// `AUTH SP sasl-mech [ SP initial-response ]` (RFC 4954 section 8).
fn auth(text: &str) -> Result<(MechanismName, Option<Secret>), SyntaxError> {
    let initial_response = opt(preceded(char(' '), rest));
    let Ok((_, (mechanism, response))) =
        all_consuming(pair(preceded(char(' '), sasl_mech), initial_response)).parse(text)
    else {
        return Err(SyntaxError::Argument);
    };
    let initial_response = match response {
        Some(response) => {
            Some(Secret::from_initial_response(response.as_bytes()).map_err(|_| SyntaxError::Base64)?)
        }
        None => None,
    };
    Ok((mechanism, initial_response))
}

/// `sasl-mech = 1*20mech-char`, `mech-char = %x41-5A / %x30-39 / "-" / "_"` (RFC 4422 section 3.1), in either case
/// (RFC 4954 section 4).
fn sasl_mech(input: &str) -> Parsed<'_, MechanismName> {
    let (rest, name) =
        take_while1(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).parse(input)?;
    if name.len() > limits::MECHANISM_OCTETS {
        return Err(nom::Err::Error(()));
    }
    Ok((rest, MechanismName(name.to_ascii_uppercase())))
}

/// `MAIL FROM: Reverse-path [SP Mail-parameters]` (RFC 5321 section 4.1.1.2). The space that some clients put behind the
/// colon is refused as a malformed argument.
fn mail(text: &str) -> Result<Command, SyntaxError> {
    let path = keyword(" FROM:", text)?;
    let (params, reverse_path) = reverse_path(path).map_err(|_| SyntaxError::ReversePath)?;
    let params = MailParams::parse(params)?;
    Ok(Command::Mail { reverse_path, params })
}

/// The argument of MAIL or RCPT without the one space that some devices put behind the colon, where it has one: for
/// peers that are allowed it.
#[must_use]
pub fn quirk_space_after_colon(verb: Verb, argument: &[u8]) -> Option<Vec<u8>> {
    let keyword = match verb {
        Verb::Mail => &b" FROM:"[..],
        Verb::Rcpt => b" TO:",
        _ => return None,
    };
    let (start, path) = argument.split_at_checked(keyword.len())?;
    let path = path.strip_prefix(b" ")?;
    start.eq_ignore_ascii_case(keyword).then(|| [start, path].concat())
}

/// `RCPT TO: Forward-path [SP Rcpt-parameters]` (RFC 5321 section 4.1.1.3), the space refused as above.
fn rcpt(text: &str) -> Result<Command, SyntaxError> {
    let path = keyword(" TO:", text)?;
    let (params, forward_path) = forward_path(path).map_err(|_| SyntaxError::ForwardPath)?;
    let params = RcptParams::parse(params)?;
    Ok(Command::Rcpt { forward_path, params })
}

fn keyword<'a>(word: &'static str, text: &'a str) -> Result<&'a str, SyntaxError> {
    let keyword: Parsed<'a, &'a str> = tag_no_case(word).parse(text);
    match keyword {
        Ok((path, _)) if !path.starts_with([' ', '\t']) => Ok(path),
        _ => Err(SyntaxError::Argument),
    }
}

/// `chunk-size = 1*DIGIT` and `end-marker = "LAST"` behind BDAT (RFC 3030 section 2).
fn bdat(input: &str) -> Parsed<'_, Chunk> {
    let size = preceded(char(' '), map_opt(digit1, decimal));
    let last = value((), preceded(char(' '), tag_no_case("LAST")));
    let (rest, (octets, last)) = pair(size, opt(last)).parse(input)?;
    Ok((rest, Chunk { octets, is_last: last.is_some() }))
}

/// `verb = 1*32(ALPHA / DIGIT / "-")`, none that Gatepost has.
fn unknown_verb(input: &str) -> Parsed<'_, UnknownVerb> {
    let word = take_while1(|c: char| c.is_ascii_alphanumeric() || c == '-');
    let (rest, verb) = verify(word, |verb: &str| verb.len() <= UNKNOWN_VERB_OCTETS).parse(input)?;
    Ok((rest, UnknownVerb(verb.to_owned())))
}

/// The longest verb of any extension has 11 letters; what is far longer is none.
const UNKNOWN_VERB_OCTETS: usize = 32;

// === impl SyntaxError ===

impl From<ParamError> for SyntaxError {
    fn from(error: ParamError) -> Self {
        match error {
            ParamError::Unknown => Self::UnknownParameter,
            ParamError::Malformed => Self::Argument,
        }
    }
}

#[cfg(test)]
mod tests;
