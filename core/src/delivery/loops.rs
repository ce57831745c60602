//! Mail that goes in circles.

use std::collections::HashSet;

use memchr::memchr;

/// Counts the `Received:` fields of a message's header section. `message` is its beginning; what follows the first
/// empty line is not looked at.
#[must_use]
pub fn count_received(message: &[u8]) -> usize {
    let mut count: usize = 0;
    let mut rest = message;
    while !rest.is_empty() {
        let (line, after) =
            match memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at.saturating_add(1))) {
                Some(split) => split,
                None => (rest, [].as_slice()),
            };
        if line.trim_ascii().is_empty() {
            break;
        }
        if is_received(line) {
            count = count.saturating_add(1);
        }
        rest = after;
    }
    count
}

/// The mailboxes that a message's header section says it has been in: the values of `Delivered-To:`, in lower case.
/// `message` is its beginning, as for `count_received`.
#[must_use]
pub fn delivered_to(message: &[u8]) -> HashSet<String> {
    let lines = message.split(|octet| *octet == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let values = lines.filter_map(|line| {
        let (name, rest) = line.split_at_checked(DELIVERED_TO.len())?;
        let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii();
        let value = name.eq_ignore_ascii_case(DELIVERED_TO).then_some(value)?;
        Some(str::from_utf8(value).ok()?.to_lowercase())
    });
    values.collect()
}

/// `Received` in any case, and white space before the colon (RFC 5322 section 4.5.8 still lets old software write it).
fn is_received(line: &[u8]) -> bool {
    let Some((name, rest)) = line.split_at_checked(FIELD.len()) else { return false };
    name.eq_ignore_ascii_case(FIELD) && rest.trim_ascii_start().first() == Some(&b':')
}

/// A message with more has been through too many hands to be on its way (RFC 5321 section 6.3 asks for at least 100).
pub const RECEIVED_MAX: usize = 100;

const FIELD: &[u8] = b"Received";
const DELIVERED_TO: &[u8] = b"Delivered-To";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_counted_and_the_body_is_not() {
        let message = b"Received: from a\r\n by b\r\nreceived : c\r\nX-Received: d\r\nRECEIVED:e\r\n\r\nReceived: f\r\n";
        assert_eq!(count_received(message), 3);
        assert_eq!(count_received(b""), 0);
        assert_eq!(count_received(b"Received"), 0);
        assert_eq!(count_received(b"Received:"), 1);
        assert_eq!(count_received(b"\r\nReceived: a\r\n"), 0);
    }

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
        assert_eq!(count_received(b"Subject: x\r\n Received: y\r\n\tReceived: z\r\n\r\n"), 0);
    }

    proptest! {
        #[test]
        fn no_octets_panic(message: Vec<u8>) {
            let _ = (count_received(&message), delivered_to(&message));
        }

        #[test]
        fn as_many_as_were_written_are_counted(fields in 0_usize..300, others in 0_usize..20) {
            let mut message = "Received: from a by b\r\n".repeat(fields);
            message.push_str(&"Subject: Received: x\r\n".repeat(others));
            message.push_str("\r\nReceived: in the body\r\n");
            prop_assert_eq!(count_received(message.as_bytes()), fields);
        }
    }
}
