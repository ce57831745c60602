//! Senders of forwarded mail, rewritten so that they are addresses of ours: the Sender Rewriting Scheme.
//!
//! ```text
//! ann@first.example             first.example sends to sales@here.example, which leads elsewhere
//! SRS0=HHHHHH=TT=first.example=ann@here.example            what we call its sender there
//! SRS1=HHHHHH=here.example==HHHHHH=TT=first.example=ann@next.example   what the next one that forwards makes of that
//! ```
//! Servers that check whether a host may send for a domain (SPF) see a domain of the host that sends. Bounces come back to
//! us, and go on to whom the address names. `HHHHHH` is a MAC, without which everybody could send anywhere by way of us; `TT`
//! is a day, after which the address is of no use any more. A second rewriting names the first one that has forwarded
//! instead of the one before, so that addresses do not grow with each step: a bounce needs two hops at the most.
//!
//! The scheme is that of Mail::SRS and libsrs2, from which others only need to understand what stands behind `SRS0=` and
//! `SRS1=`. Our MAC is HMAC-SHA-256 in base32 rather than a part of HMAC-SHA-1 in base64: servers on the way may change the
//! case of a local part, so letters that differ in case alone would count for less than they take.

use std::fmt;

use aws_lc_rs::hmac;
use gatepost_smtp::wire::path::{Domain, Mailbox};
use subtle::ConstantTimeEq as _;

use super::secret::Secret;
use crate::directory::DomainName;

/// How senders are rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose addresses rewritten senders are; its mail comes to us.
    pub domain: DomainName,
    /// How many days bounces are taken for: at most `DAYS_MAX`.
    pub days: u16,
    /// Characters of a MAC, 5 bits each: `MAC_CHARACTERS_MIN` to `MAC_CHARACTERS_MAX`.
    pub mac_characters: usize,
    /// Whether only notifications, which have the null sender, are taken for rewritten senders.
    pub bounces_only: bool,
}

/// Why an address of the scheme's form is not one of ours, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// We did not make it.
    #[error("a rewritten sender that was not made here")]
    Forged,
    /// We made it too long ago.
    #[error("a rewritten sender that is too old")]
    Expired,
}

/// The scheme at work: settings, and secrets of which the first makes MACs and all are believed.
pub(crate) struct Srs<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) secrets: &'a [Secret],
}

/// What a local part of the scheme says behind its first four characters.
enum Parsed<'a> {
    /// `=MAC=TT=host=local`
    First { mac: &'a str, day: &'a str, host: &'a str, local_part: &'a str },
    /// `=MAC=host=` and what stood behind `SRS0` in the address that was rewritten
    Further { mac: &'a str, host: &'a str, rest: &'a str },
}

// === impl Srs ===

impl Srs<'_> {
    /// The address that stands for a sender. `None` where there is none: he is at the domain already, or the local part would
    /// be longer than one may be (RFC 5321 section 4.5.3.1.1).
    pub(crate) fn rewrite(&self, sender: &Mailbox, now_day: u64) -> Option<Mailbox> {
        let domain = self.settings.domain.as_str();
        let host = host(sender.domain());
        if host == domain {
            return None;
        }
        let local_part = sender.local_part();
        let rewritten = match Parsed::of(local_part) {
            // It has been here before: what we have made of it then is a step less.
            Some(Parsed::Further { host, rest, .. }) if host.eq_ignore_ascii_case(domain) => {
                format!("SRS0{rest}")
            }
            Some(Parsed::Further { host, rest, .. }) => {
                format!("SRS1={}={host}={rest}", self.mac(&["1", host, rest])?)
            }
            Some(Parsed::First { .. }) => {
                let rest = local_part.get(TAG_CHARACTERS..)?;
                format!("SRS1={}={host}={rest}", self.mac(&["1", &host, rest])?)
            }
            None => {
                let day = day_text(now_day);
                format!("SRS0={}={day}={host}={local_part}", self.mac(&["0", &day, &host, local_part])?)
            }
        };
        mailbox(&rewritten, domain)
    }

    /// Whom an address stands for. `None` where it is none of this scheme at our domain.
    pub(crate) fn reverse(&self, address: &Mailbox, now_day: u64) -> Option<Result<Mailbox, NotOurs>> {
        let is_here = host(address.domain()) == self.settings.domain.as_str();
        let local_part = address.local_part();
        if !is_here || !is_tagged(local_part) {
            return None;
        }
        let Some(parsed) = Parsed::of(local_part) else { return Some(Err(NotOurs::Forged)) };
        Some(self.reverse_parsed(&parsed, now_day))
    }

    fn reverse_parsed(&self, parsed: &Parsed<'_>, now_day: u64) -> Result<Mailbox, NotOurs> {
        let original = match *parsed {
            Parsed::First { mac, day, host, local_part } => {
                self.verify(mac, &["0", day, host, local_part])?;
                let age = day_number(day).ok_or(NotOurs::Forged).map(|day| age(day, now_day))?;
                if age > u64::from(self.settings.days) {
                    return Err(NotOurs::Expired);
                }
                mailbox(local_part, host)
            }
            Parsed::Further { mac, host, rest } => {
                self.verify(mac, &["1", host, rest])?;
                mailbox(&format!("SRS0{rest}"), host)
            }
        };
        original.ok_or(NotOurs::Forged)
    }

    fn mac(&self, parts: &[&str]) -> Option<String> {
        self.secrets.first().map(|secret| mac(secret, parts, self.settings.mac_characters))
    }

    fn verify(&self, found: &str, parts: &[&str]) -> Result<(), NotOurs> {
        let found = found.to_ascii_uppercase();
        let is_made_with = |secret: &Secret| {
            let expected = mac(secret, parts, self.settings.mac_characters);
            bool::from(expected.as_bytes().ct_eq(found.as_bytes()))
        };
        if self.secrets.iter().any(is_made_with) { Ok(()) } else { Err(NotOurs::Forged) }
    }
}

impl fmt::Debug for Srs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srs").field("settings", &self.settings).finish_non_exhaustive()
    }
}

// === impl Parsed ===

impl<'a> Parsed<'a> {
    /// Behind the tag stands one of three characters, of which `=` is usual.
    fn of(local_part: &'a str) -> Option<Self> {
        if !is_tagged(local_part) {
            return None;
        }
        let is_first = local_part.as_bytes().get(TAG_CHARACTERS.checked_sub(1)?) == Some(&b'0');
        let (mac, behind) = local_part.get(TAG_CHARACTERS.checked_add(1)?..)?.split_once('=')?;
        if is_first {
            let (day, behind) = behind.split_once('=')?;
            let (host, local_part) = behind.split_once('=')?;
            return Some(Self::First { mac, day, host, local_part });
        }
        let (host, rest) = behind.split_once('=')?;
        rest.starts_with(SEPARATORS).then_some(Self::Further { mac, host, rest })
    }
}

/// `SRS0` or `SRS1` in any case, and a separator.
fn is_tagged(local_part: &str) -> bool {
    let Some((tag, rest)) = local_part.split_at_checked(TAG_CHARACTERS) else { return false };
    (tag.eq_ignore_ascii_case("SRS0") || tag.eq_ignore_ascii_case("SRS1")) && rest.starts_with(SEPARATORS)
}

/// Over parts whose case does not count. NUL is in none of them, so it keeps them apart.
fn mac(secret: &Secret, parts: &[&str], characters: usize) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.octets());
    let text = parts.join("\0").to_lowercase();
    base32(hmac::sign(&key, text.as_bytes()).as_ref()).take(characters).collect()
}

/// RFC 4648 section 6, as far as whole characters go.
fn base32(octets: &[u8]) -> impl Iterator<Item = char> {
    let bits = octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1));
    let bits: Vec<u8> = bits.collect();
    let characters: Vec<char> = bits
        .chunks_exact(BITS)
        .map(|group| character(group.iter().fold(0, |number, bit| number << 1 | u64::from(*bit))))
        .collect();
    characters.into_iter()
}

/// A day since 1970 in two characters, which come again after 1024 days.
fn day_text(day: u64) -> String {
    [character(day >> BITS), character(day)].iter().collect()
}

fn day_number(text: &str) -> Option<u64> {
    let [high, low] = text.as_bytes() else { return None };
    let digit = |octet: &u8| {
        let position = ALPHABET.iter().position(|known| known == &octet.to_ascii_uppercase())?;
        u64::try_from(position).ok()
    };
    Some(digit(high)? << BITS | digit(low)?)
}

const fn age(day: u64, now_day: u64) -> u64 {
    now_day.wrapping_sub(day) & DAYS_MASK
}

/// For the lowest five bits of a number.
fn character(number: u64) -> char {
    let index = usize::try_from(number & 0x1f).unwrap_or_default();
    ALPHABET.get(index).copied().map_or('A', char::from)
}

/// A domain as it stands in an address of the scheme.
fn host(domain: &Domain) -> String {
    match domain {
        Domain::Name(name) => {
            name.parse::<DomainName>().map_or_else(|_| name.clone(), |name| name.to_string())
        }
        address @ Domain::Address(_) => address.to_string(),
    }
}

/// Quoted where the local part asks for it; `None` where the grammar has no such mailbox.
fn mailbox(local_part: &str, domain: &str) -> Option<Mailbox> {
    let plain = format!("{local_part}@{domain}").parse::<Mailbox>().ok();
    if let Some(plain) = plain.filter(|mailbox| mailbox.local_part() == local_part) {
        return Some(plain);
    }
    let quoted = local_part.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{quoted}\"@{domain}").parse().ok()
}

/// Days that an address may be believed: two characters tell no more apart, and a bounce takes no longer.
pub const DAYS_MAX: u16 = 365;
/// 20 bits: each guess is a recipient that is refused, of which admission lets nobody have many.
pub const MAC_CHARACTERS_MIN: usize = 4;
/// 100 bits are more than anybody guesses, and a local part has 64 octets for all.
pub const MAC_CHARACTERS_MAX: usize = 20;

const TAG_CHARACTERS: usize = 4;
const SEPARATORS: [char; 3] = ['=', '+', '-'];
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BITS: usize = 5;
const DAYS_MASK: u64 = 0x3ff;

#[cfg(test)]
mod tests;
