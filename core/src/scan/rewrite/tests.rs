//! Whole messages, with an engine that finds `MARK` and cleans `MARK-soft`.

use proptest::prelude::*;

use super::*;
use crate::scan::{EngineIdentity, Metrics, Settings};

struct Marks;

impl Engine for Marks {
    fn identity(&self) -> EngineIdentity {
        EngineIdentity::new("marks", "1").unwrap()
    }

    fn scan(&self, item: &[u8], _deadline: Instant) -> Verdict {
        match memchr::memmem::find(item, b"MARK") {
            Some(_) => Verdict::Infected { threat: "Mark".into() },
            None if memchr::memmem::find(item, b"SLOW").is_some() => Verdict::TimedOut,
            None => Verdict::Clean,
        }
    }

    fn clean(&self, item: &[u8], _deadline: Instant) -> Cleaning {
        match String::from_utf8(item.to_vec()) {
            Ok(text) if text.contains("MARK-liar") => Cleaning::Cleaned(item.to_vec()),
            Ok(text) if text.contains("MARK-soft") => {
                Cleaning::Cleaned(text.replace("MARK-soft", "").into_bytes())
            }
            _ => Cleaning::NotCleanable,
        }
    }
}

fn rewriter() -> Rewriter {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let scanner = Scanner::start(Arc::new(Marks), &Settings::default(), metrics).unwrap();
    Rewriter::start(scanner, MemoryBudget::default()).unwrap()
}

fn rewrite(message: &str, cleans: bool) -> Result<Rewritten, NotRewritten> {
    let notice = Notice {
        hostname: "mx.example.org".into(),
        reference: "1M829761E0000".into(),
        at_ms: 0,
        is_kept: false,
    };
    let body = Body::Memory(message.to_owned().into());
    let task = Task { body, cleans, notice, time: Duration::from_secs(20) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(rewriter().rewrite(task))
}

fn mixed(parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--a\r\n{part}\r\n")).collect();
    format!(
        "DKIM-Signature: x\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\npreamble\r\n{parts}--a--\r\nepilogue\r\n"
    )
}

fn treatments(rewritten: &Rewritten) -> Vec<Treatment> {
    rewritten.parts.iter().map(|part| part.treatment).collect()
}

/// `MARK` in a file in base64.
const FILE: &str =
    "Content-Type: application/x; name=x.exe\r\nContent-Transfer-Encoding: base64\r\n\r\nTUFSSw==\r\n";

#[test]
fn an_infected_part_is_replaced_and_all_else_stays_octet_by_octet() {
    let message = mixed(&["\r\nhello", FILE, "\r\nbye"]);
    let rewritten = rewrite(&message, false).unwrap();
    let (before, after) = message.split_once(FILE).unwrap();
    let octets = std::str::from_utf8(&rewritten.octets).unwrap();
    let notice = octets.strip_prefix(before).unwrap().strip_suffix(after).unwrap();
    assert!(notice.contains("\r\nFile:      x.exe\r\nFound:     Mark\r\n"), "{notice}");
    assert_eq!(treatments(&rewritten), [Treatment::Removed]);
}

#[test]
fn what_an_engine_cleans_keeps_its_place_and_what_it_cannot_is_taken_out() {
    let soft = "X: y\r\n\r\nbefore MARK-soft after";
    let rewritten = rewrite(&mixed(&[soft, FILE, "\r\nMARK-liar"]), true).unwrap();
    assert_eq!(treatments(&rewritten), [Treatment::Cleaned, Treatment::CleanFailed, Treatment::CleanFailed]);
    let octets = std::str::from_utf8(&rewritten.octets).unwrap();
    let encoded = "--a\r\nX: y\r\nContent-Transfer-Encoding: base64\r\n\r\nYmVmb3JlICBhZnRlcg==\r\n--a\r\n";
    assert!(octets.contains(encoded), "{octets}");
    assert!(!octets.contains("MARK"), "{octets}");
}

#[test]
fn what_cannot_be_divided_stays() {
    let impossible = |message: &str| rewrite(message, true).unwrap_err();
    assert_eq!(impossible("Subject: x\r\n\r\nMARK\r\n"), Indivisible::NoParts.into());
    let signed = format!("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n{FILE}\r\n--b--");
    assert_eq!(impossible(&mixed(&["\r\nhello", &signed])), Indivisible::Sealed.into());
    let outside = mixed(&["\r\nhello"]).replace("preamble", "MARK");
    assert_eq!(impossible(&outside), Indivisible::NotInAPart.into());
    let both = mixed(&["\r\nhello", FILE]).replace("epilogue", "MARK");
    assert_eq!(impossible(&both), Indivisible::StillSuspect.into());
    assert_eq!(impossible(&mixed(&[FILE, "\r\nSLOW"])), NotRewritten::NotNow);
}

#[test]
fn the_field_says_what_was_done_and_is_folded() {
    let part = |treatment| Treated { threat: "T".into(), treatment };
    let parts = [part(Treatment::Cleaned), part(Treatment::CleanFailed), part(Treatment::Removed)];
    let field = field(&parts, "mx.example.org", QueueId(7), &"T".repeat(128), 0);
    let first = "X-Gatepost-Rewritten: by mx.example.org; was=0000000000007; removed=2; cleaned=1;";
    assert_eq!(field.lines().next(), Some(first));
    assert!(field.ends_with("\tThu, 1 Jan 1970 00:00:00 +0000\r\n"), "{field}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Where MARK stands alone decides what changes.
    #[test]
    fn parts_without_a_finding_come_through_as_they_were(
        parts in prop::collection::vec("(X: [a-z]{1,8}\r\n)?\r\n(MARK|[a-z ]{1,20}(\r\n[a-z]{1,9}){0,3})", 1..8),
    ) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let infected = parts.iter().filter(|part| part.contains("MARK")).count();
        match rewrite(&mixed(&parts), false) {
            Err(error) => {
                prop_assert_eq!(infected, 0);
                prop_assert_eq!(error, Indivisible::NotInAPart.into());
            }
            Ok(rewritten) => {
                prop_assert_eq!(rewritten.parts.len(), infected);
                let octets = std::str::from_utf8(&rewritten.octets).unwrap();
                let mut rest = octets;
                for part in parts.iter().filter(|part| !part.contains("MARK")) {
                    let framed = format!("--a\r\n{part}\r\n--a");
                    let at = rest.find(&framed);
                    prop_assert!(at.is_some(), "{framed:?} in {rest}");
                    rest = rest.get(at.unwrap() + framed.len() - 3..).unwrap();
                }
                prop_assert!(octets.ends_with("--a--\r\nepilogue\r\n"));
            }
        }
    }
}
