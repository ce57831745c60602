//! What is said between this process and the helpers of one command.
//!
//! ```text
//! helper socket (packets):  <- READY, or FAILED reason           once
//!                           -> OPEN, with one end of a socket    for each session
//! session (stream):         -> VERSION                       <- answer   as often as wanted
//!                           -> ITEM length:u64 octets        <- answer   and the session has ended
//! answer:                   tag:u8 length:u16 text
//! ```
//! Numbers are big-endian.

use std::io::{self, Read, Write};

/// The helper can be used.
pub const READY: u8 = b'r';
/// It cannot, for the reason that follows.
pub const FAILED: u8 = b'f';
/// A new session.
pub const OPEN: u8 = b'o';
/// What version does the program have?
pub const VERSION: u8 = b'v';
/// Scan this.
pub const ITEM: u8 = b'i';
/// The longest text of an answer, in octets: a name or a reason.
pub const TEXT_OCTETS_MAX: usize = 1_024;

/// What a helper answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To VERSION.
    Version(String),
    /// Nothing was found.
    Clean,
    /// This was found, in the program's words.
    Infected(String),
    /// It could not be done, for this reason.
    Failed(String),
}

// === impl Answer ===

impl Answer {
    /// Writes it, its text cut to what an answer may have.
    ///
    /// # Errors
    /// Nobody reads it.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        let (tag, text) = match self {
            Self::Version(text) => (TAG_VERSION, text.as_str()),
            Self::Clean => (TAG_CLEAN, ""),
            Self::Infected(text) => (TAG_INFECTED, text.as_str()),
            Self::Failed(text) => (TAG_FAILED, text.as_str()),
        };
        let text = text.get(..text.floor_char_boundary(TEXT_OCTETS_MAX)).unwrap_or_default();
        let length = u16::try_from(text.len()).unwrap_or_default();
        let mut octets = vec![tag];
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(text.as_bytes());
        to.write_all(&octets)
    }

    /// Reads one. What is not UTF-8 in its text is replaced.
    ///
    /// # Errors
    /// The socket's, and `InvalidData` for what is no answer.
    pub fn read_from(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 3];
        from.read_exact(&mut head)?;
        let [tag, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > TEXT_OCTETS_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        match tag {
            TAG_VERSION => Ok(Self::Version(text)),
            TAG_CLEAN if text.is_empty() => Ok(Self::Clean),
            TAG_INFECTED => Ok(Self::Infected(text)),
            TAG_FAILED => Ok(Self::Failed(text)),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    }
}

const TAG_VERSION: u8 = b'V';
const TAG_CLEAN: u8 = b'C';
const TAG_INFECTED: u8 = b'I';
const TAG_FAILED: u8 = b'F';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer() -> impl Strategy<Value = Answer> {
        let text = "\\PC{0,200}";
        prop_oneof![
            text.prop_map(Answer::Version),
            Just(Answer::Clean),
            text.prop_map(Answer::Infected),
            text.prop_map(Answer::Failed),
        ]
    }

    proptest! {
        #[test]
        fn an_answer_survives_its_way(answer in answer()) {
            let mut octets = Vec::new();
            answer.write_to(&mut octets).unwrap();
            let mut rest = octets.as_slice();
            prop_assert_eq!(Answer::read_from(&mut rest).unwrap(), answer);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_octets_make_more_than_an_answer_may_have(octets: Vec<u8>) {
            if let Ok(Answer::Version(text) | Answer::Infected(text)) = Answer::read_from(&mut octets.as_slice()) {
                prop_assert!(text.len() <= TEXT_OCTETS_MAX * 3);
            }
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let mut octets = Vec::new();
        Answer::Infected("ä".repeat(TEXT_OCTETS_MAX)).write_to(&mut octets).unwrap();
        let expected = Answer::Infected("ä".repeat(TEXT_OCTETS_MAX / 2));
        assert_eq!(Answer::read_from(&mut octets.as_slice()).unwrap(), expected);
    }
}
