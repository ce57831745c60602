//! RFC 5321 section 4.1.2: mailboxes and paths, with the UTF-8 of RFC 6531 section 3.3.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, tag_no_case, take_while1};
use nom::character::complete::{char, satisfy};
use nom::combinator::{all_consuming, consumed, map, map_opt, opt, recognize, value, verify};
use nom::multi::{fold_many0, many0_count};
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use super::limits::{DOMAIN_OCTETS, LABEL_OCTETS, LOCAL_PART_OCTETS};

/// A mailbox whose parts were checked against the grammar; at most 64 + 1 + 255 octets.
///
/// Two mailboxes are equal when they are written the same; the directory compares domains without case.
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
    Address(IpAddr),
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

/// What a grammar rule returns. The error carries nothing, so that no text of a peer can leave through it.
pub(crate) type Parsed<'a, T> = IResult<&'a str, T, ()>;

// === impl Mailbox ===

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

    /// Whether its local part may name a domain of its own: `user%domain`, `domain!user`, `"user@domain"`. Servers that still know
    /// such routes (RFC 1123 section 5.2.16) send mail on to that domain, however the address ends.
    #[must_use]
    pub fn may_be_routed(&self) -> bool {
        self.local_part.contains(['%', '!', '@'])
    }

    /// Whether it can only travel with SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        let domain_is_ascii = match &self.domain {
            Domain::Name(name) => name.is_ascii(),
            Domain::Address(_) => true,
        };
        !(self.local_part.is_ascii() && domain_is_ascii)
    }
}

impl FromStr for Mailbox {
    type Err = InvalidMailbox;

    /// Reads `local@domain` without angle brackets, quoted local parts and SMTPUTF8 included.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        whole(mailbox, text)
    }
}

/// As on the wire, quoted where the grammar asks for it: `Display` and `FromStr` are inverse.
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if all_consuming(dot_string).parse(&self.local_part).is_ok() {
            return write!(f, "{}@{}", self.local_part, self.domain);
        }
        f.write_str("\"")?;
        for character in self.local_part.chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            fmt::Write::write_char(f, character)?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

// === impl Domain ===

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

// === impl ReversePath ===

/// With angle brackets.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// With angle brackets, as `Display` writes it.
impl FromStr for ReversePath {
    type Err = InvalidMailbox;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        whole(reverse_path, text)
    }
}

// === impl ForwardPath ===

/// With angle brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("<Postmaster>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// With angle brackets, as `Display` writes it.
impl FromStr for ForwardPath {
    type Err = InvalidMailbox;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        whole(forward_path, text)
    }
}

// === The grammar ===

/// `Reverse-path = Path / "<>"` (RFC 5321 section 4.1.2).
pub(crate) fn reverse_path(input: &str) -> Parsed<'_, ReversePath> {
    alt((value(ReversePath::Null, tag("<>")), map(path, ReversePath::Mailbox))).parse(input)
}

/// `"<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path` (RFC 5321 section 4.1.1.3), `Forward-path = Path`.
pub(crate) fn forward_path(input: &str) -> Parsed<'_, ForwardPath> {
    let postmaster = value(ForwardPath::Postmaster, tag_no_case("<postmaster>"));
    alt((postmaster, map(path, ForwardPath::Mailbox))).parse(input)
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`: the route must be accepted and should be ignored (RFC 5321 appendix C).
fn path(input: &str) -> Parsed<'_, Mailbox> {
    delimited(char('<'), preceded(opt(source_route), mailbox), char('>')).parse(input)
}

/// `A-d-l = At-domain *( "," At-domain )`, with the colon behind it.
fn source_route(input: &str) -> Parsed<'_, ()> {
    value((), terminated((at_domain, many0_count((char(','), at_domain))), char(':'))).parse(input)
}

/// `At-domain = "@" Domain`.
fn at_domain(input: &str) -> Parsed<'_, &str> {
    preceded(char('@'), domain_name).parse(input)
}

/// `Mailbox = Local-part "@" ( Domain / address-literal )`.
fn mailbox(input: &str) -> Parsed<'_, Mailbox> {
    map(separated_pair(local_part, char('@'), domain), |(local_part, domain)| Mailbox { local_part, domain })
        .parse(input)
}

/// `Local-part = Dot-string / Quoted-string`, at most 64 octets as written (RFC 5321 section 4.5.3.1.1).
fn local_part(input: &str) -> Parsed<'_, String> {
    let either = alt((map(dot_string, str::to_owned), quoted_string));
    map(
        verify(consumed(either), |(text, _): &(&str, String)| text.len() <= LOCAL_PART_OCTETS),
        |(_, part)| part,
    )
    .parse(input)
}

/// `Dot-string = Atom *("." Atom)`.
fn dot_string(input: &str) -> Parsed<'_, &str> {
    recognize((atom, many0_count((char('.'), atom)))).parse(input)
}

/// `Atom = 1*atext`; `atext =/ UTF8-non-ascii` (RFC 5322 section 3.2.3, RFC 6531 section 3.3).
pub(crate) fn atom(input: &str) -> Parsed<'_, &str> {
    take_while1(|c: char| {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_non_ascii(c)
    })
    .parse(input)
}

/// `Quoted-string = DQUOTE *QcontentSMTP DQUOTE`, its quoting removed.
fn quoted_string(input: &str) -> Parsed<'_, String> {
    let content = fold_many0(qcontent, String::new, |mut text: String, character| {
        text.push(character);
        text
    });
    delimited(char('"'), content, char('"')).parse(input)
}

/// `QcontentSMTP = qtextSMTP / quoted-pairSMTP`, `quoted-pairSMTP = %d92 %d32-126`,
/// `qtextSMTP = %d32-33 / %d35-91 / %d93-126 / UTF8-non-ascii`.
fn qcontent(input: &str) -> Parsed<'_, char> {
    let qtext = satisfy(|c| (matches!(c, ' '..='~') && c != '"' && c != '\\') || is_utf8_non_ascii(c));
    alt((qtext, preceded(char('\\'), satisfy(|c| matches!(c, ' '..='~'))))).parse(input)
}

/// `Domain / address-literal`.
pub(crate) fn domain(input: &str) -> Parsed<'_, Domain> {
    alt((map(domain_name, |name| Domain::Name(name.to_owned())), map(address_literal, Domain::Address)))
        .parse(input)
}

/// `Domain = sub-domain *("." sub-domain)`, at most 255 octets (RFC 5321 section 4.5.3.1.2).
fn domain_name(input: &str) -> Parsed<'_, &str> {
    let dotted = recognize((sub_domain, many0_count((char('.'), sub_domain))));
    verify(dotted, |name: &str| name.len() <= DOMAIN_OCTETS).parse(input)
}

/// `sub-domain = Let-dig [Ldh-str] / U-label` (RFC 5321 section 4.1.2, RFC 6531 section 3.3). Whether a U-label is one by
/// IDNA's tables is for the directory to find out when it looks the domain up.
fn sub_domain(input: &str) -> Parsed<'_, &str> {
    let label = take_while1(|c: char| c.is_ascii_alphanumeric() || c == '-' || is_utf8_label(c));
    verify(label, |label: &str| {
        !label.starts_with('-') && !label.ends_with('-') && label.chars().count() <= LABEL_OCTETS
    })
    .parse(input)
}

/// `address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"` (RFC 5321
/// section 4.1.3). No general one was ever registered, so none is read.
fn address_literal(input: &str) -> Parsed<'_, IpAddr> {
    let ipv6 =
        preceded(tag_no_case("IPv6:"), map_opt(is_not("]"), |text: &str| text.parse::<Ipv6Addr>().ok()));
    let ipv4 = map_opt(is_not("]"), |text: &str| text.parse::<Ipv4Addr>().ok());
    delimited(char('['), alt((map(ipv6, IpAddr::V6), map(ipv4, IpAddr::V4))), char(']')).parse(input)
}

/// `UTF8-non-ascii` without what would let an address lie to the one who reads it in a log: control and white-space
/// characters, and those that change the direction of text or cannot be seen.
pub(crate) fn is_utf8_non_ascii(c: char) -> bool {
    let is_invisible =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_ascii() && !c.is_control() && !c.is_whitespace() && !is_invisible
}

/// As above, without the full stops that IDNA maps to a dot: they would hide a label's border.
fn is_utf8_label(c: char) -> bool {
    is_utf8_non_ascii(c) && !matches!(c, '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
}

fn whole<T>(rule: impl Fn(&str) -> Parsed<'_, T>, text: &str) -> Result<T, InvalidMailbox> {
    match rule(text) {
        Ok(("", value)) => Ok(value),
        _ => Err(InvalidMailbox),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox_of(text: &str) -> Option<(String, String)> {
        let mailbox = text.parse::<Mailbox>().ok()?;
        Some((mailbox.local_part().to_owned(), mailbox.domain().to_string()))
    }

    #[test]
    fn mailboxes_of_every_form_are_read() {
        let table = [
            ("a@b", "a", "b"),
            ("first.last+tag@mail.example.org", "first.last+tag", "mail.example.org"),
            ("\"a b\"@x.example", "a b", "x.example"),
            (r#""a\"\\b"@x.example"#, r#"a"\b"#, "x.example"),
            ("\"\"@x.example", "", "x.example"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
            ("a@[ipv6:2001:DB8::1]", "a", "[IPv6:2001:db8::1]"),
            ("jörg@müller.example", "jörg", "müller.example"),
            ("a%b@x.example", "a%b", "x.example"),
        ];
        for (text, local_part, domain) in table {
            assert_eq!(mailbox_of(text), Some((local_part.to_owned(), domain.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_mailbox_is_refused() {
        let long_local = format!("{}@x.example", "a".repeat(65));
        let long_label = format!("a@{}.example", "a".repeat(64));
        let long_domain = format!("a@{}", ["a".repeat(63).as_str(); 4].join(".") + ".b");
        let table = [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a..b@c",
            ".a@c",
            "a.@c",
            "a@b.",
            "a@.b",
            "a@b..c",
            "a@-b",
            "a@b-",
            "a@b_c",
            "a@[192.0.2.1",
            "a@[192.0.2.256]",
            "a@[192.0.2.01]",
            "a@[IPv6:::1%eth0]",
            "a@[tag:x]",
            "\"a@b",
            "\"a\"b@c",
            "a\u{1}@c",
            "\"\u{7f}\"@c",
            "\"\\\u{e9}\"@c",
            "a@b\u{3002}c",
            "a\u{202e}b@c",
            "a\u{a0}@c",
            "a@b ",
            " a@b",
            "<a@b>",
            &long_local,
            &long_label,
            &long_domain,
        ];
        for text in table {
            assert_eq!(text.parse::<Mailbox>(), Err(InvalidMailbox), "{text}");
        }
    }

    #[test]
    fn a_source_route_is_read_and_dropped() {
        let path: ReversePath = "<@one.example,@two.example:joe@three.example>".parse().unwrap();
        assert_eq!(path.to_string(), "<joe@three.example>");
        assert!("<@one.example:@two.example:joe@x>".parse::<ReversePath>().is_err());
        assert!("<@one.example,joe@x>".parse::<ReversePath>().is_err());
    }

    #[test]
    fn the_null_path_is_a_reverse_path_only() {
        assert_eq!("<>".parse::<ReversePath>(), Ok(ReversePath::Null));
        assert_eq!("<>".parse::<ForwardPath>(), Err(InvalidMailbox));
        assert_eq!("<POSTMASTER>".parse::<ForwardPath>(), Ok(ForwardPath::Postmaster));
        assert_eq!("<postmaster>".parse::<ReversePath>(), Err(InvalidMailbox));
    }

    #[test]
    fn only_text_outside_of_ascii_needs_smtputf8() {
        assert!(!"a@b".parse::<Mailbox>().unwrap().needs_smtputf8());
        assert!("ä@b".parse::<Mailbox>().unwrap().needs_smtputf8());
        assert!("a@ä".parse::<Mailbox>().unwrap().needs_smtputf8());
    }
}
