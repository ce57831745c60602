//! Mail that goes in circles.

use std::collections::HashSet;

use gatepost_smtp::wire::path::ForwardPath;
use memchr::memchr_iter;

/// The addresses that a message's header section says it has been delivered to: the values of `Delivered-To:`, in lower
/// case. `message` is its beginning; what follows the first empty line is not looked at, and folded lines are not either.
#[must_use]
pub fn delivered_to(message: &[u8]) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut start = 0;
    // Nothing is allocated for a message without the field: it is looked for in all that is delivered.
    for end in memchr_iter(b'\n', message).chain([message.len()]) {
        let line = message.get(start..end).unwrap_or_default();
        match line {
            [] | [b'\r'] => break,
            [b'd' | b'D', ..] => found.extend(value(line)),
            _ => {}
        }
        start = end.saturating_add(1);
    }
    found
}

/// The field that says so, of a mail that goes on from an address of ours. What cannot be written into a field is left out:
/// then the count of `Received:` ends the loop.
pub(super) fn been_at(address: &ForwardPath) -> String {
    let value = delivered_to_value(address);
    let is_line = value.is_ascii() && !value.chars().any(char::is_control);
    if is_line { format!("Delivered-To: {value}\r\n") } else { String::new() }
}

/// What it says.
pub(super) fn delivered_to_value(address: &ForwardPath) -> String {
    address.to_string().trim_start_matches('<').trim_end_matches('>').to_owned()
}

/// Of a `Delivered-To` field, in lower case. White space before the colon is what old software may write (RFC 5322
/// section 4.5.8).
fn value(line: &[u8]) -> Option<String> {
    let (name, rest) = line.split_at_checked(DELIVERED_TO.len())?;
    let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii();
    let value = name.eq_ignore_ascii_case(DELIVERED_TO).then_some(value)?;
    Some(str::from_utf8(value).ok()?.to_lowercase())
}

/// A message with more `Received` fields has been through too many hands to be on its way (RFC 5321 section 6.3 asks for at
/// least 100).
pub const RECEIVED_MAX: usize = 100;

const DELIVERED_TO: &[u8] = b"Delivered-To";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mailboxes_are_read_off_the_header_section_alone() {
        let message =
            b"Delivered-To: Me@LocalHost\r\nX-Delivered-To: a@b\r\ndelivered-to :you@localhost \r\n\r\nDelivered-To: c@d\r\n";
        let found = delivered_to(message);
        assert_eq!(found, ["me@localhost", "you@localhost"].map(str::to_owned).into());
        assert_eq!(delivered_to(b""), HashSet::new());
    }

    #[test]
    fn a_folded_line_is_no_field() {
        assert_eq!(
            delivered_to(b"Subject: x\r\n Delivered-To: a@b\r\n\tDelivered-To: c@d\r\n\r\n"),
            HashSet::new()
        );
        assert_eq!(delivered_to(b"\r\nDelivered-To: a@b\r\n"), HashSet::new());
        assert_eq!(delivered_to(b"Delivered-To: a@b"), ["a@b".to_owned()].into());
    }

    proptest! {
        #[test]
        fn no_octets_panic(message: Vec<u8>) {
            let _ = delivered_to(&message);
        }
    }
}
