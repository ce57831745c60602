//! Heads of ICAP responses (RFC 3507 section 4.3), read strictly, and what scanners say in them.

use crate::scan::threat_name;

/// Status and header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Names in lower case. Continuation lines stay lines of their own, since `X-Violations-Found` has one a fact.
    fields: Vec<(String, String)>,
}

/// Where a body begins, or that there is none (section 4.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encapsulated {
    /// No body behind so many octets of header sections.
    NullBody(usize),
    /// A chunked body behind so many octets of header sections.
    Body(usize),
}

// === impl Head ===

impl Head {
    /// Reads a head, the empty line at its end left out. `None`: that is none.
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(octets).ok()?;
        let mut lines = text.split("\r\n");
        let status = lines.next()?.strip_prefix("ICAP/1.0 ")?;
        let code = status.get(..3)?;
        if !matches!(status.as_bytes().get(3), None | Some(b' '))
            || !code.bytes().all(|it| it.is_ascii_digit())
        {
            return None;
        }
        let status = code.parse().ok()?;
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut()?;
                value.push('\n');
                value.push_str(line.trim());
            } else {
                let (name, value) = line.split_once(':')?;
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        Some(Self { status, fields })
    }

    /// The first field of this name, which is written in lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The version of the service, without its quotes (section 4.7).
    pub(super) fn tag(&self) -> Option<&str> {
        self.field("istag").map(|tag| tag.trim_matches('"')).filter(|tag| !tag.is_empty())
    }

    /// Whether the connection is good for another request.
    pub(super) fn keeps_connection(&self) -> bool {
        !self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// What was found, in any of the ways that scanners tell it.
    pub(super) fn threat(&self) -> Option<String> {
        if let Some(found) = self.field("x-infection-found") {
            let threat = found.split(';').find_map(|part| part.trim().strip_prefix("Threat="));
            return Some(threat_name(threat.unwrap_or(found)));
        }
        if let Some(name) = self.field("x-virus-id") {
            return Some(threat_name(name));
        }
        // A count, then for each: file, name, number, what was done.
        let mut facts = self.field("x-violations-found")?.split('\n');
        let count: u64 = facts.next()?.parse().unwrap_or(1);
        (count > 0).then(|| threat_name(facts.nth(1).unwrap_or_default()))
    }

    /// Whether the server says that what it sends is not the item repaired: `Resolution=0` is "not fixed", 2 is "blocked".
    pub(super) fn is_blocked(&self) -> bool {
        let found = self.field("x-infection-found").unwrap_or_default();
        let resolution = found.split(';').find_map(|part| part.trim().strip_prefix("Resolution="));
        resolution.is_some_and(|resolution| resolution.trim() != "1")
    }

    /// Where the body of what the server sends instead begins.
    pub(super) fn encapsulated(&self) -> Option<Encapsulated> {
        let (name, offset) = self.field("encapsulated")?.rsplit(',').next()?.split_once('=')?;
        let offset = offset.trim().parse().ok()?;
        match name.trim() {
            "null-body" => Some(Encapsulated::NullBody(offset)),
            "res-body" | "opt-body" => Some(Encapsulated::Body(offset)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(fields: &str) -> Head {
        Head::parse(format!("ICAP/1.0 200 OK\r\n{fields}").as_bytes()).unwrap()
    }

    #[test]
    fn a_finding_is_told_in_three_ways() {
        for (fields, threat) in [
            ("X-Infection-Found: Type=0; Resolution=2; Threat=Eicar-Test;", Some("Eicar-Test")),
            ("x-infection-found: strange", Some("strange")),
            ("X-Virus-ID: Eicar Test", Some("Eicar_Test")),
            ("X-Violations-Found: 1\r\n\tfile.exe\r\n\tEicar\r\n\t7\r\n\t0", Some("Eicar")),
            ("X-Violations-Found: 1", Some("unnamed")),
            ("X-Violations-Found: 0", None),
            ("ISTag: \"1\"", None),
        ] {
            assert_eq!(head(fields).threat().as_deref(), threat, "{fields}");
        }
    }

    #[test]
    fn the_version_stands_in_quotes_or_not() {
        assert_eq!(head("ISTag: \"CI0001-XYZ\"").tag(), Some("CI0001-XYZ"));
        assert_eq!(head("istag: 5").tag(), Some("5"));
        assert_eq!(head("ISTag: \"\"").tag(), None);
    }

    #[test]
    fn a_body_is_where_the_last_entry_says() {
        let encapsulated = |value: &str| head(&format!("Encapsulated: {value}")).encapsulated();
        assert_eq!(encapsulated("res-hdr=0, res-body=213"), Some(Encapsulated::Body(213)));
        assert_eq!(encapsulated("null-body=0"), Some(Encapsulated::NullBody(0)));
        for bad in ["", "res-body", "req-body=0", "res-body=-1", "res-body=x"] {
            assert_eq!(encapsulated(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bad in [
            "",
            "HTTP/1.1 200 OK",
            "ICAP/1.0 20 OK",
            "ICAP/1.0 2000",
            "ICAP/1.0 +20",
            "ICAP/1.0 200 OK\r\nno colon",
            "ICAP/1.0 200 OK\r\n folded: first",
        ] {
            assert_eq!(Head::parse(bad.as_bytes()), None, "{bad}");
        }
        assert!(Head::parse(b"ICAP/1.0 204").is_some());
    }

    proptest! {
        #[test]
        fn no_head_panics(octets: Vec<u8>, text in "ICAP/1.0 20[04] OK\r\n([a-zA-Z-]{0,8}:? ?[ -~\r\n\té]{0,40})*") {
            for octets in [octets.as_slice(), text.as_bytes()] {
                if let Some(head) = Head::parse(octets) {
                    let _ = (head.threat(), head.tag(), head.encapsulated(), head.keeps_connection());
                }
            }
        }
    }
}
