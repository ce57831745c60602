//! The header firewall, against a reader that has the whole section before it.

use gatepost_core::filter::{HeaderFirewall, Trust};

use crate::input::Input;

/// However a mail is cut, the same fields are taken out, and nothing else.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let trust = input.octet();
    let trust = Trust { organization: trust & 1 != 0, forest: trust & 2 != 0, routing: trust & 4 == 0 };
    let cuts = input.cuts();
    let mail = input.rest();

    let mut firewall = HeaderFirewall::new(OURS.into(), trust);
    let mut passed = Vec::new();
    for piece in cuts.pieces(mail) {
        firewall.put(piece, &mut |octets| passed.extend_from_slice(octets));
    }
    let stripped = firewall.finish(&mut |octets| passed.extend_from_slice(octets)).expect("a small section");

    let (expected, count) = naive(mail, trust);
    assert_eq!(passed.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(stripped.counts().map(|(_, count)| count).sum::<u32>(), count);
}

/// What is left of the mail, and how many fields were taken out.
fn naive(mail: &[u8], trust: Trust) -> (Vec<u8>, u32) {
    let (mut left, mut count, mut rest) = (Vec::new(), 0, mail);
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let (field, behind) = rest.split_at(field_octets(rest));
        if is_kept(field, trust) {
            left.extend_from_slice(field);
        } else {
            count += 1;
        }
        rest = behind;
    }
    left.extend_from_slice(rest);
    (left, count)
}

/// A line and those behind it that begin with white space.
fn field_octets(rest: &[u8]) -> usize {
    let mut octets = 0;
    loop {
        octets +=
            rest[octets..].iter().position(|octet| *octet == b'\n').map_or(rest.len() - octets, |at| at + 1);
        if !matches!(rest.get(octets), Some(b' ' | b'\t')) {
            return octets;
        }
    }
}

fn is_kept(field: &[u8], trust: Trust) -> bool {
    let lower = field.to_ascii_lowercase();
    let is_named = |name: &str| {
        lower
            .strip_prefix(name.as_bytes())
            .is_some_and(|behind| matches!(behind.first(), Some(b':' | b' ' | b'\t' | b'\r' | b'\n')))
    };
    if !trust.forest && lower.starts_with(b"x-ms-exchange-forest-") {
        return false;
    }
    if !trust.routing && (lower.starts_with(b"resent-") || is_named("received")) {
        return false;
    }
    trust.organization
        || !(lower.starts_with(b"x-ms-exchange-organization-")
            || lower.starts_with(b"x-gatepost-")
            || is_named("return-path")
            || is_named("authentication-results") && speaks_for_us(&lower[..lower.len().min(1024)]))
}

/// A lower-case `Authentication-Results:` whose name is ours, or could be taken for ours since it cannot be read.
fn speaks_for_us(field: &[u8]) -> bool {
    let Some(colon) = field.iter().position(|octet| *octet == b':') else { return true };
    let mut value = field[colon + 1..].iter().copied().peekable();
    let mut depth = 0;
    while let Some(octet) = value.next_if(|octet| depth > 0 || b"( \t\r\n".contains(octet)) {
        match octet {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\\' => drop(value.next()),
            _ => {}
        }
    }
    if depth > 0 {
        return true;
    }
    if value.next_if_eq(&b'"').is_none() {
        let name: Vec<u8> = value.take_while(|octet| !b" \t\r\n;(/".contains(octet)).collect();
        return name.is_empty() || name == OURS.as_bytes();
    }
    let mut name = Vec::new();
    loop {
        match value.next() {
            None => return true,
            Some(b'"') => return name.is_empty() || name == OURS.as_bytes(),
            Some(b'\\') => name.extend(value.next()),
            Some(b'\r' | b'\n') => {}
            Some(octet) => name.push(octet),
        }
    }
}

const OURS: &str = "mx.example";
