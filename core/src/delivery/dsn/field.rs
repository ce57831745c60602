//! Values of the fields of a notification. Whatever a peer has said is escaped here, and nowhere else.

use std::fmt::{self, Write as _};

use gatepost_smtp::wire::params::OriginalRecipient;

/// Text in one line: printable ASCII stays, all else becomes `\x{HEX}` (the escape of RFC 6533 section 3), at most
/// `TEXT_CHARACTERS_MAX` characters of the original.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

/// An address with its type, `rfc822; me@example.org` (RFC 3464 section 2.3.1, RFC 6533 section 3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Address<'a> {
    /// Without angle brackets.
    pub(super) address: &'a str,
    /// Whether UTF-8 may stand there as it is.
    pub(super) global: bool,
}

/// What ORCPT said, its type kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Original<'a> {
    pub(super) recipient: &'a OriginalRecipient,
    /// Whether UTF-8 may stand there as it is.
    pub(super) global: bool,
}

// === impl Text ===

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(TEXT_CHARACTERS_MAX).try_for_each(|character| match character {
            ' '..='~' => f.write_char(character),
            other => write!(f, "\\x{{{:X}}}", u32::from(other)),
        })
    }
}

// === impl Address ===

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.address.is_ascii() { "rfc822" } else { "utf-8" };
        write!(f, "{kind}; ")?;
        unitext(self.address, self.global, f)
    }
}

// === impl Original ===

impl fmt::Display for Original<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The type is an atom by its grammar.
        write!(f, "{}; ", Text(&self.recipient.kind))?;
        unitext(&self.recipient.address, self.global, f)
    }
}

fn unitext(address: &str, global: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    address.chars().try_for_each(|character| match character {
        other if global && !other.is_ascii() && !other.is_control() => f.write_char(other),
        other => write!(f, "{}", Text(other.encode_utf8(&mut [0; 4]))),
    })
}

/// A reply of a next hop has at most 512 octets. With a field's name and every character escaped a line stays a line that
/// mail programs can read; longer ones were cut by whoever sent them.
const TEXT_CHARACTERS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_printable_is_escaped() {
        assert_eq!(
            Text("550 no\r\nFrom: x\u{e4}\u{7f}").to_string(),
            "550 no\\x{D}\\x{A}From: x\\x{E4}\\x{7F}"
        );
    }

    #[test]
    fn an_address_outside_of_ascii_has_a_type_of_its_own() {
        let show = |address, global| Address { address, global }.to_string();
        assert_eq!(show("me@example.org", false), "rfc822; me@example.org");
        assert_eq!(show("j\u{f6}rg@example.org", true), "utf-8; j\u{f6}rg@example.org");
        assert_eq!(show("j\u{f6}rg@example.org", false), "utf-8; j\\x{F6}rg@example.org");
        let recipient = OriginalRecipient { kind: "x400".into(), address: "/S=me/".into() };
        assert_eq!(Original { recipient: &recipient, global: false }.to_string(), "x400; /S=me/");
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_line(text: String, global: bool) {
            for shown in [Text(&text).to_string(), Address { address: &text, global }.to_string()] {
                prop_assert!(!shown.chars().any(char::is_control));
                prop_assert!(global || shown.is_ascii());
            }
        }
    }
}
