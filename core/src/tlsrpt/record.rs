//! Where a domain wants its reports: TXT at `_smtp._tls.DOMAIN` (RFC 8460 section 3).

use gatepost_smtp::wire::path::Mailbox;

/// Who gets reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By mail.
    pub mailboxes: Vec<Mailbox>,
    /// Places that we cannot report to, such as `https:`.
    pub others: usize,
}

/// What the texts say. `None` where none of them is such a record, or more than one is: then nobody wants reports.
#[must_use]
pub fn wanted(texts: &[String]) -> Option<Wanted> {
    let is_ours = |text: &&String| {
        text.strip_prefix(VERSION).is_some_and(|rest| rest.is_empty() || rest.trim_start().starts_with(';'))
    };
    let mut records = texts.iter().filter(is_ours);
    let (record, None) = (records.next()?, records.next()) else { return None };
    let mut fields = record.split(';').map(str::trim);
    let rua = fields.find_map(|field| field.strip_prefix("rua=").map(str::trim))?;
    let mut wanted = Wanted::default();
    for place in rua.split(',').map(|uri| mailbox(uri.trim())) {
        match place {
            Some(mailbox) if wanted.mailboxes.len() < PLACES_MAX => wanted.mailboxes.push(mailbox),
            _ => wanted.others = wanted.others.saturating_add(1),
        }
    }
    Some(wanted)
}

/// The address of a `mailto:` (RFC 6068), ASCII; the fields that may follow it are not for us.
fn mailbox(uri: &str) -> Option<Mailbox> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    let address = decoded(rest.split('?').next().unwrap_or_default())?;
    address.is_ascii().then(|| address.parse().ok()).flatten()
}

/// Without percent signs: a list's own signs, `,`, `;` and `!`, can only stand in a URI in this way.
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok().filter(|text| !text.starts_with('+'))?;
        octets.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(octets).ok()
}

const VERSION: &str = "v=TLSRPTv1";
/// Each gets the mail.
const PLACES_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mailboxes(texts: &[&str]) -> Option<Vec<String>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        wanted(&texts).map(|wanted| wanted.mailboxes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn mailboxes_are_read_and_what_cannot_be_used_is_passed_over() {
        let of = |text: &str| mailboxes(&[text]).unwrap();
        assert_eq!(of("v=TLSRPTv1;rua=mailto:reports@example.com"), ["reports@example.com"]);
        assert_eq!(
            of("v=TLSRPTv1; rua=https://r.example/v1, MAILTO:%22a%2Cb%22@c.example?x=1;"),
            ["\"a,b\"@c.example"]
        );
        let wanted = wanted(&["v=TLSRPTv1; rua=https://r.example/v1,mailto:a@b.example".to_owned()]).unwrap();
        assert_eq!((wanted.mailboxes.len(), wanted.others), (1, 1));
        assert_eq!(
            of(
                "v=TLSRPTv1; rua=mailto:none, mailto:%zz@a.example, mailto:%0D%0A@a.example, mailto:%c3%a4@a.example, ftp://x"
            ),
            Vec::<String>::new()
        );
        assert_eq!(of(&format!("v=TLSRPTv1; rua={}", "mailto:a@b.example,".repeat(9))).len(), PLACES_MAX);
    }

    #[test]
    fn two_records_or_none_ask_for_nothing() {
        let record = "v=TLSRPTv1; rua=mailto:a@b.example";
        assert_eq!(mailboxes(&[record, "v=spf1 -all"]).unwrap(), ["a@b.example"]);
        for texts in [&[][..], &["v=spf1 -all"], &[record, record], &["v=TLSRPTv1"], &["v=TLSRPTv12; rua=x"]]
        {
            assert_eq!(mailboxes(texts), None, "{texts:?}");
        }
    }

    proptest! {
        #[test]
        fn no_record_is_too_strange(text in "(v=TLSRPTv1;? ?rua=(mailto:)?)?.{0,60}") {
            let _read = wanted(&[text]);
        }
    }
}
