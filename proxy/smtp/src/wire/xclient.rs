//! XCLIENT, by which a relay says on whose behalf it speaks: Postfix's public syntax.
//!
//! ```text
//! xclient-command = XCLIENT 1*( SP attribute-name "=" attribute-value )
//! attribute-name  = NAME / ADDR / PORT / PROTO / HELO / LOGIN / DESTADDR / DESTPORT
//! attribute-value = xtext / "[UNAVAILABLE]" / "[TEMPUNAVAIL]"
//! ```
//! Every value is decoded and then checked against the grammar of what it names: an octet that could end a line, or a
//! name that is none, gets no further than here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::client_name::ClientName;
use super::command::{Argument, SyntaxError};
use super::xtext;

/// What a relay said of its client: at least one attribute, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xclient(Vec<Attribute>);

/// One thing that a relay says of its client. `None` is what it cannot tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// The name of its address in the DNS.
    Name(Option<ClientName>),
    /// Its address.
    Addr(Option<IpAddr>),
    /// Its port.
    Port(Option<u16>),
    /// Whether it said EHLO.
    Proto(Protocol),
    /// What it said in EHLO or HELO.
    Helo(Option<ClientName>),
    /// Who it authenticated as.
    Login(Option<Argument>),
    /// The address that it connected to.
    DestAddr(Option<IpAddr>),
    /// The port that it connected to.
    DestPort(Option<u16>),
}

/// What a client spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HELO.
    Smtp,
    /// EHLO.
    Esmtp,
}

/// The names of all attributes.
pub(crate) const NAMES: [&str; 8] =
    ["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"];

/// What EHLO lists behind XCLIENT. LOGIN is read but not asked for: nobody is taken for authenticated on hearsay.
pub const OFFERED: &str = "NAME ADDR PORT PROTO HELO DESTADDR DESTPORT";

// === impl Xclient ===

impl Xclient {
    /// Reads what stands behind the verb.
    ///
    /// # Errors
    /// Where an attribute is unknown, malformed or there twice, or there is none.
    pub fn parse(argument: &str) -> Result<Self, SyntaxError> {
        let words = argument.strip_prefix(' ').ok_or(SyntaxError::Argument)?;
        let mut attributes: Vec<Attribute> = Vec::new();
        for word in words.split(' ') {
            let attribute = Attribute::parse(word).ok_or(SyntaxError::Argument)?;
            if attributes.iter().any(|other| other.name() == attribute.name()) {
                return Err(SyntaxError::Argument);
            }
            attributes.push(attribute);
        }
        Ok(Self(attributes))
    }

    /// What we say of a client ourselves. `None` where that is nothing, or one thing twice.
    pub(crate) fn of(attributes: Vec<Attribute>) -> Option<Self> {
        let is_twice = |(index, it): (usize, &Attribute)| {
            attributes.iter().take(index).any(|other| other.name() == it.name())
        };
        let is_one = !attributes.is_empty() && !attributes.iter().enumerate().any(is_twice);
        is_one.then_some(Self(attributes))
    }

    /// In the order in which they were said.
    #[must_use]
    pub fn attributes(&self) -> &[Attribute] {
        &self.0
    }
}

impl fmt::Display for Xclient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attribute) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{}={}", attribute.name(), attribute.value())?;
        }
        Ok(())
    }
}

// === impl Attribute ===

impl Attribute {
    /// Its name in upper case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Name(_) => "NAME",
            Self::Addr(_) => "ADDR",
            Self::Port(_) => "PORT",
            Self::Proto(_) => "PROTO",
            Self::Helo(_) => "HELO",
            Self::Login(_) => "LOGIN",
            Self::DestAddr(_) => "DESTADDR",
            Self::DestPort(_) => "DESTPORT",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let (name, value) = word.split_once('=')?;
        let is_unavailable =
            ["[UNAVAILABLE]", "[TEMPUNAVAIL]"].iter().any(|it| value.eq_ignore_ascii_case(it));
        let value = if is_unavailable { None } else { Some(String::from_utf8(xtext::decode(value)?).ok()?) };
        let value = value.as_deref();
        Some(match name.to_ascii_uppercase().as_str() {
            "NAME" => Self::Name(known(value, |text| text.parse().ok())?),
            "ADDR" => Self::Addr(known(value, address)?),
            "PORT" => Self::Port(known(value, port)?),
            "PROTO" => Self::Proto(protocol(value?)?),
            "HELO" => Self::Helo(known(value, |text| text.parse().ok())?),
            "LOGIN" => Self::Login(known(value, |text| text.parse().ok())?),
            "DESTADDR" => Self::DestAddr(known(value, address)?),
            "DESTPORT" => Self::DestPort(known(value, port)?),
            _ => return None,
        })
    }

    fn value(&self) -> String {
        let value = match self {
            Self::Name(name) | Self::Helo(name) => name.as_ref().map(ToString::to_string),
            Self::Addr(address) | Self::DestAddr(address) => address.map(|address| match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("IPV6:{address}"),
            }),
            Self::Port(port) | Self::DestPort(port) => port.as_ref().map(ToString::to_string),
            Self::Proto(Protocol::Smtp) => Some("SMTP".to_owned()),
            Self::Proto(Protocol::Esmtp) => Some("ESMTP".to_owned()),
            Self::Login(login) => login.as_ref().map(|login| login.as_str().to_owned()),
        };
        value.map_or_else(|| "[UNAVAILABLE]".to_owned(), |text| xtext::encode(text.as_bytes()))
    }
}

/// `None` where the text is not legal, `Some(None)` where there is none.
#[expect(clippy::option_option, reason = "illegal, not known and known are three things")]
fn known<T>(value: Option<&str>, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    value.map_or(Some(None), |text| read(text).map(Some))
}

/// An IPv4 address, or an IPv6 address behind `IPV6:`.
fn address(text: &str) -> Option<IpAddr> {
    match text.split_at_checked("IPV6:".len()) {
        Some((prefix, address)) if prefix.eq_ignore_ascii_case("IPV6:") => {
            address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|octet| octet.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

fn protocol(text: &str) -> Option<Protocol> {
    match text.to_ascii_uppercase().as_str() {
        "SMTP" => Some(Protocol::Smtp),
        "ESMTP" => Some(Protocol::Esmtp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_argument_is_the_same_after_writing_and_reading_it(
            words in proptest::collection::vec(
                r"(name|HELO)=[a-z.+0-9A-F\[\]]{1,8}|(ADDR|destaddr)=([0-9.]{7,9}|IPV6:[0-9a-f:]{2,6})|(PORT|DESTPORT)=[0-9]{1,6}|PROTO=E?SMTP|LOGIN=[!-~]{1,6}|[A-Z]{4}=\[UNAVAILABLE\]",
                1..4,
            ),
        ) {
            if let Ok(xclient) = Xclient::parse(&format!(" {}", words.join(" "))) {
                let written = xclient.to_string();
                prop_assert!(written.bytes().all(|octet| matches!(octet, b' '..=b'~')));
                prop_assert_eq!(Xclient::parse(&format!(" {written}")), Ok(xclient));
            }
        }
    }

    #[test]
    fn attributes_are_typed() {
        let xclient = Xclient::parse(
            " name=spike.porcupine.org ADDR=IPV6:2001:DB8::1 PORT=[unavailable] PROTO=esmtp HELO=[TEMPUNAVAIL] LOGIN=a+3Db",
        );
        let expected = [
            Attribute::Name(Some("spike.porcupine.org".parse().unwrap())),
            Attribute::Addr(Some("2001:db8::1".parse().unwrap())),
            Attribute::Port(None),
            Attribute::Proto(Protocol::Esmtp),
            Attribute::Helo(None),
            Attribute::Login(Some("a=b".parse().unwrap())),
        ];
        assert_eq!(xclient.unwrap().attributes(), expected);
    }

    /// CVE-2026-28753: CR LF in the name of an address was written into XCLIENT, and became a command of its own.
    #[test]
    fn what_could_end_a_line_is_no_value() {
        for argument in [
            " NAME=a+0D+0AMAIL",
            " HELO=a+0Ab",
            " LOGIN=a+0D+0Ab",
            " LOGIN=a+00b",
            " NAME=a+20b",
            " ADDR=1.2.3.4+0D",
        ] {
            assert_eq!(Xclient::parse(argument), Err(SyntaxError::Argument), "{argument}");
        }
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for argument in [
            "",
            " ",
            "ADDR=1.2.3.4",
            " ADDR",
            " ADDR=",
            " ADDR=1.2.3",
            " ADDR=::1",
            " ADDR=IPV6:1.2.3.4",
            " PORT=65536",
            " PORT=-1",
            " PORT=+1",
            " PROTO=[UNAVAILABLE]",
            " PROTO=LMTP",
            " FOO=bar",
            " ADDR=1.2.3.4  PORT=1",
            " ADDR=1.2.3.4 ADDR=1.2.3.5",
            " LOGIN=",
            " NAME=\u{e4}",
        ] {
            assert_eq!(Xclient::parse(argument), Err(SyntaxError::Argument), "{argument:?}");
        }
    }
}
