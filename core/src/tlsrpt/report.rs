//! One report: the JSON of RFC 8460 section 4, and the mail that carries it (section 5.3).

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use gatepost_smtp::wire::path::Mailbox;
use serde_json::{Value, json};

use super::ledger::{DAY_MS, Detail, Tally};
use crate::intake::trace;

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report<'a> {
    /// Whose results these are.
    pub(super) domain: &'a str,
    /// Which day, counted from 1970-01-01 UTC.
    pub(super) day: u64,
    pub(super) tallies: &'a [Tally],
    /// Our name, checked.
    pub(super) hostname: &'a str,
    /// Who reports: printable ASCII, shorter than a line.
    pub(super) organization: &'a str,
    pub(super) from: &'a Mailbox,
    /// Letters and digits, of this mail alone.
    pub(super) mail_id: &'a str,
}

// === impl Report ===

impl Report<'_> {
    pub(super) fn json(&self) -> Value {
        json!({
            "organization-name": self.organization,
            "date-range": {
                "start-datetime": timestamp(self.start_ms()),
                "end-datetime": timestamp(self.end_ms()),
            },
            "contact-info": self.from.to_string(),
            "report-id": self.id(),
            "policies": self.tallies.iter().map(policy).collect::<Vec<_>>(),
        })
    }

    /// The same whenever this report is made, so that one which comes twice, after a crash, is known for one.
    fn id(&self) -> String {
        let of = format!("{}\n{}\n{}", self.hostname, self.domain, self.day);
        blake3::hash(of.as_bytes()).to_hex().chars().take(ID_CHARACTERS).collect()
    }

    /// The whole mail, CRLF lines, ASCII.
    pub(super) fn mail(&self, to: &[Mailbox], now_ms: u64) -> Vec<u8> {
        let Self { domain, hostname, organization, from, mail_id, .. } = self;
        let id = self.id();
        let to: Vec<_> = to.iter().map(|to| format!("<{to}>")).collect();
        let to = to.join(",\r\n\t");
        let (start, end) = (self.start_ms() / 1000, self.end_ms() / 1000);
        let boundary = format!("=_{mail_id}");
        let mut text = String::new();
        // Into memory, where writing does not fail.
        let _written = write!(
            text,
            "From: <{from}>\r\nTo: {to}\r\n\
             Subject: Report Domain: {domain}\r\n Submitter: {hostname}\r\n Report-ID: <{id}@{hostname}>\r\n\
             Date: {}\r\n\
             Message-ID: <{mail_id}@{hostname}>\r\n\
             TLS-Report-Domain: {domain}\r\n\
             TLS-Report-Submitter: {hostname}\r\n\
             TLS-Required: No\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"{boundary}\"\r\n\
             \r\n--{boundary}\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is a report on TLS from {organization} to the mail exchangers of\r\n\
             {domain}, {} to {} (RFC 8460).\r\n\
             \r\n--{boundary}\r\n\
             Content-Type: application/tlsrpt+gzip\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n\tfilename=\"{hostname}!{domain}!{start}!{end}!{id}.json.gz\"\r\n\r\n",
            trace::date(now_ms),
            timestamp(self.start_ms()),
            timestamp(self.end_ms()),
        );
        for line in STANDARD.encode(gzip(self.json().to_string().as_bytes())).as_bytes().chunks(LINE_OCTETS) {
            text.push_str(std::str::from_utf8(line).unwrap_or_default());
            text.push_str("\r\n");
        }
        let _written = write!(text, "\r\n--{boundary}--\r\n");
        text.into_bytes()
    }

    const fn start_ms(&self) -> u64 {
        self.day.saturating_mul(DAY_MS)
    }

    /// The last second of the day.
    const fn end_ms(&self) -> u64 {
        self.start_ms().saturating_add(DAY_MS - 1000)
    }
}

fn policy(tally: &Tally) -> Value {
    let mut policy = json!({ "policy-type": tally.kind, "policy-domain": tally.policy_domain });
    if let Some(fields) = policy.as_object_mut() {
        if !tally.policy.is_empty() {
            fields.insert("policy-string".to_owned(), json!(tally.policy));
        }
        if !tally.exchangers.is_empty() {
            fields.insert("mx-host".to_owned(), json!(tally.exchangers));
        }
    }
    let mut whole = json!({
        "policy": policy,
        "summary": {
            "total-successful-session-count": tally.successes,
            "total-failure-session-count": tally.failures,
        },
    });
    if let Some(fields) = whole.as_object_mut().filter(|_| !tally.details.is_empty()) {
        let details: Vec<_> = tally.details.iter().map(detail).collect();
        fields.insert("failure-details".to_owned(), json!(details));
    }
    whole
}

fn detail(detail: &Detail) -> Value {
    let mut value = json!({
        "result-type": detail.result,
        "failed-session-count": detail.sessions,
        "failure-reason-code": detail.reason,
    });
    if let Some(fields) = value.as_object_mut() {
        if !detail.host.is_empty() {
            fields.insert("receiving-mx-hostname".to_owned(), json!(detail.host));
        }
        if let Some(address) = detail.address {
            fields.insert("receiving-ip".to_owned(), json!(address));
        }
    }
    value
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Into memory, where writing does not fail.
    let _written = encoder.write_all(octets);
    encoder.finish().unwrap_or_default()
}

fn timestamp(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// 96 bits: enough for no two reports of one organization to be alike.
const ID_CHARACTERS: usize = 24;
/// RFC 2045 section 6.8 allows 76.
const LINE_OCTETS: usize = 76;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn tallies() -> Vec<Tally> {
        let detail = Detail {
            result: "certificate-expired".to_owned(),
            host: "mx.to.example".to_owned(),
            address: Some("192.0.2.1".parse().unwrap()),
            reason: "certificate not accepted".to_owned(),
            sessions: 3,
        };
        let tally = Tally {
            kind: "sts".to_owned(),
            policy_domain: "to.example".to_owned(),
            policy: vec!["version: STSv1".to_owned()],
            exchangers: vec!["*.to.example".to_owned()],
            successes: 5,
            failures: 3,
            details: vec![detail],
        };
        let none = Tally {
            kind: "no-policy-found".to_owned(),
            policy: Vec::new(),
            exchangers: Vec::new(),
            details: Vec::new(),
            ..tally.clone()
        };
        vec![tally, none]
    }

    fn report<'a>(tallies: &'a [Tally], from: &'a Mailbox) -> Report<'a> {
        Report {
            domain: "to.example",
            day: 19_675,
            tallies,
            hostname: "mx.us.example",
            organization: "Us",
            from,
            mail_id: "01ABC",
        }
    }

    #[test]
    fn a_report_has_what_the_rfc_asks_for() {
        let (tallies, from) = (tallies(), "tls@us.example".parse().unwrap());
        let expected = json!({
            "organization-name": "Us",
            "date-range": {
                "start-datetime": "2023-11-14T00:00:00Z",
                "end-datetime": "2023-11-14T23:59:59Z",
            },
            "contact-info": "tls@us.example",
            "report-id": report(&tallies, &from).id(),
            "policies": [
                {
                    "policy": {
                        "policy-type": "sts",
                        "policy-string": ["version: STSv1"],
                        "policy-domain": "to.example",
                        "mx-host": ["*.to.example"],
                    },
                    "summary": { "total-successful-session-count": 5, "total-failure-session-count": 3 },
                    "failure-details": [{
                        "result-type": "certificate-expired",
                        "receiving-mx-hostname": "mx.to.example",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 3,
                        "failure-reason-code": "certificate not accepted",
                    }],
                },
                {
                    "policy": { "policy-type": "no-policy-found", "policy-domain": "to.example" },
                    "summary": { "total-successful-session-count": 5, "total-failure-session-count": 3 },
                },
            ],
        });
        assert_eq!(report(&tallies, &from).json(), expected);
    }

    #[test]
    fn its_mail_carries_it_and_asks_to_come_without_tls_too() {
        let (tallies, from) = (tallies(), "tls@us.example".parse().unwrap());
        let report = report(&tallies, &from);
        let mail = report.mail(
            &["reports@to.example".parse().unwrap(), "more@to.example".parse().unwrap()],
            1_700_000_000_000,
        );
        let (text, id) = (String::from_utf8(mail).unwrap(), report.id());
        assert_eq!(id.len(), ID_CHARACTERS);
        let other = Report { day: 19_676, ..report };
        assert_ne!(other.id(), id);
        assert!(text.is_ascii() && text.split("\r\n").all(|line| line.len() < 200 && !line.contains('\n')));
        for line in [
            "To: <reports@to.example>,\r\n\t<more@to.example>\r\n",
            &format!(
                "Subject: Report Domain: to.example\r\n Submitter: mx.us.example\r\n Report-ID: <{id}@mx.us.example>\r\n"
            ),
            "Message-ID: <01ABC@mx.us.example>\r\n",
            "TLS-Report-Domain: to.example\r\nTLS-Report-Submitter: mx.us.example\r\nTLS-Required: No\r\n",
            &format!("filename=\"mx.us.example!to.example!1699920000!1700006399!{id}.json.gz\"\r\n"),
        ] {
            assert!(text.contains(line), "{line:?} is missing in {text}");
        }
        let encoded = text.split("json.gz\"\r\n\r\n").nth(1).unwrap().split("\r\n\r\n--").next().unwrap();
        let zipped = STANDARD.decode(encoded.replace("\r\n", "")).unwrap();
        let mut json = String::new();
        GzDecoder::new(zipped.as_slice()).read_to_string(&mut json).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), report.json());
    }
}
