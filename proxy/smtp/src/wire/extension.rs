//! The arguments of the verbs between Exchange servers, as far as their grammar is known.

use std::fmt;

use nom::Parser;
use nom::bytes::complete::{tag, tag_no_case, take_while_m_n};
use nom::character::complete::{char, digit1};
use nom::combinator::{all_consuming, map_opt, opt, rest, verify};
use nom::sequence::{delimited, pair, preceded, terminated};

use super::command::SyntaxError;
use super::params::decimal;
use super::path::Parsed;

/// `XEXCH50 size [type]`: a blob follows the 354.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exch50 {
    /// Octets of the blob; whether there may be so many is for the session to say.
    pub octets: u64,
    /// What the second number means is not documented.
    pub kind: Option<u64>,
}

/// `X-LINK2STATE [FIRST|NEXT|LAST] CHUNK=data`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkState {
    /// Where in its series the chunk stands, if it says so.
    pub position: Option<Position>,
    data: LinkStateData,
}

/// The place of a chunk in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// Begins a series.
    First,
    /// Goes on.
    Next,
    /// Ends it.
    Last,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LinkStateData {
    has_length: bool,
    text: String,
}

// === impl Exch50 ===

impl Exch50 {
    /// Reads what stands behind the verb.
    ///
    /// # Errors
    /// Where it is not one or two plain decimal numbers: no sign, no leading zero.
    pub fn parse(argument: &str) -> Result<Self, SyntaxError> {
        let kind = opt(preceded(char(' '), number));
        match all_consuming(pair(preceded(char(' '), number), kind)).parse(argument) {
            Ok((_, (octets, kind))) => Ok(Self { octets, kind }),
            Err(_) => Err(SyntaxError::Argument),
        }
    }
}

impl fmt::Display for Exch50 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.octets)?;
        self.kind.map_or(Ok(()), |kind| write!(f, " {kind}"))
    }
}

// === impl LinkState ===

impl LinkState {
    /// Reads what stands behind the verb.
    ///
    /// # Errors
    /// Where it is no chunk, its text is not printable ASCII, or it does not have the length that it declares.
    pub fn parse(argument: &str) -> Result<Self, SyntaxError> {
        let position = opt(terminated(position, char(' ')));
        let chunk = pair(preceded(char(' '), position), preceded(tag_no_case("CHUNK="), data));
        match all_consuming(chunk).parse(argument) {
            Ok((_, (position, data))) => Ok(Self { position, data }),
            Err(_) => Err(SyntaxError::Argument),
        }
    }

    /// The text of the chunk, without its length.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.data.text
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{} ", position.name())?;
        }
        let LinkStateData { has_length, text } = &self.data;
        if *has_length { write!(f, "CHUNK={{{:08X}}}{text}", text.len()) } else { write!(f, "CHUNK={text}") }
    }
}

// === impl Position ===

impl Position {
    const ALL: [Self; 3] = [Self::First, Self::Next, Self::Last];

    const fn name(self) -> &'static str {
        match self {
            Self::First => "FIRST",
            Self::Next => "NEXT",
            Self::Last => "LAST",
        }
    }
}

// === The grammar ===

/// `number = "0" / (%x31-39 *DIGIT)`, within 64 bits. A sign, as in the exploit of MS03-046, is none of it.
fn number(input: &str) -> Parsed<'_, u64> {
    let plain = verify(digit1, |digits: &str| digits == "0" || !digits.starts_with('0'));
    map_opt(plain, decimal).parse(input)
}

fn position(input: &str) -> Parsed<'_, Position> {
    let word = take_while_m_n(4, 5, |c: char| c.is_ascii_alphabetic());
    map_opt(word, |word: &str| Position::ALL.into_iter().find(|at| at.name().eq_ignore_ascii_case(word)))
        .parse(input)
}

/// `data = [ "{" 8HEXDIG "}" ] 1*( SP / VCHAR )`, of exactly the length that is declared.
fn data(input: &str) -> Parsed<'_, LinkStateData> {
    let hex = take_while_m_n(8, 8, |c: char| c.is_ascii_hexdigit());
    let length = map_opt(delimited(tag("{"), hex, tag("}")), |hex| usize::from_str_radix(hex, 16).ok());
    let (text, length) = opt(length).parse(input)?;
    let is_text = |text: &&str| {
        let is_printable = text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
        // A brace that begins no length would read as one to somebody less strict.
        let is_ambiguous = length.is_none() && text.starts_with('{');
        is_printable && !text.is_empty() && !is_ambiguous && length.is_none_or(|octets| octets == text.len())
    };
    let (rest, text) = verify(rest, |text: &str| is_text(&text)).parse(text)?;
    Ok((rest, LinkStateData { has_length: length.is_some(), text: text.to_owned() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arguments_are_the_same_after_writing_and_reading_them(
            text in r" [0-9+-]{0,12}( [0-9]{1,3})?| ((FIRST|next|LAST|MID) )?CHUNK=(\{0000000[0-4]\})?[ -~]{0,4}",
        ) {
            if let Ok(exch50) = Exch50::parse(&text) {
                prop_assert_eq!(Exch50::parse(&format!(" {exch50}")), Ok(exch50));
            }
            if let Ok(chunk) = LinkState::parse(&text) {
                prop_assert_eq!(LinkState::parse(&format!(" {chunk}")), Ok(chunk));
            }
        }
    }

    #[test]
    fn sizes_are_plain_decimal_numbers() {
        assert_eq!(Exch50::parse(" 2336 3"), Ok(Exch50 { octets: 2336, kind: Some(3) }));
        assert_eq!(Exch50::parse(" 1020"), Ok(Exch50 { octets: 1020, kind: None }));
        assert_eq!(Exch50::parse(" 18446744073709551615").unwrap().octets, u64::MAX);
        for argument in [
            "",
            " ",
            "2 2",
            "  2 2",
            " -1 2",
            " +1 2",
            " 01 2",
            " 2  2",
            " 2 2 2",
            " 2 -2",
            " 0x2 2",
            " 2,2",
            " 2\t2",
            " ٢ 2",
            " 1e3",
            " 18446744073709551616 2",
            " 99999999999999999999999 2",
        ] {
            assert_eq!(Exch50::parse(argument), Err(SyntaxError::Argument), "{argument:?}");
        }
    }

    #[test]
    fn chunks_have_the_length_that_they_declare() {
        let chunk = LinkState::parse(" first chunk={00000005}hello").unwrap();
        assert_eq!((chunk.position, chunk.text()), (Some(Position::First), "hello"));
        assert_eq!(LinkState::parse(" CHUNK=a b").unwrap().position, None);
        for argument in [
            "",
            " CHUNK=",
            " FIRST",
            " FIRSTCHUNK=a",
            " MIDDLE CHUNK=a",
            " FIRST  CHUNK=a",
            " FIRST NEXT CHUNK=a",
            " CHUNK={00000004}hello",
            " CHUNK={00000006}hello",
            " CHUNK={FFFFFFFF}hello",
            " CHUNK={00000000}",
            " CHUNK={5}hello",
            " CHUNK={0000005}hello",
            " CHUNK={-0000005}hello",
            " CHUNK=h\u{e4}llo",
            " CHUNK=a\tb",
        ] {
            assert_eq!(LinkState::parse(argument), Err(SyntaxError::Argument), "{argument:?}");
        }
    }
}
