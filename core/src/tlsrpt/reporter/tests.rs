//! Days that are over, with a name server and a queue of their own.

use std::path::Path;
use std::sync::Mutex;

use super::super::ledger::DAY_MS;
use super::super::{Failure, ResultType};
use super::*;
use crate::BoxFuture;
use crate::delivery::dns::{Addresses, Exchangers};
use crate::delivery::tls_policy::dane::Tlsa;
use crate::delivery::tls_policy::{Applied, PolicyKind};
use crate::disk::SimulatedDisk;
use crate::dkim::{Algorithm, Selector, Signer, SigningKey};

/// Answers every question for a record as a test says.
#[derive(Debug)]
struct Records(Mutex<Result<&'static str, Unresolved>>);

impl Resolver for Records {
    fn mail_exchangers<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Exchangers, Unresolved>> {
        Box::pin(async { Ok(Exchangers::default()) })
    }

    fn addresses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Addresses, Unresolved>> {
        Box::pin(async { Err(Unresolved::NoSuchName) })
    }

    fn tlsa<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, Unresolved>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn proves(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }

    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>> {
        assert_eq!(name, "_smtp._tls.to.example");
        let answer = *self.0.lock().unwrap();
        Box::pin(async move { answer.map(|text| vec![text.to_owned()]) })
    }
}

struct Case {
    sender: Sender,
    records: Arc<Records>,
}

impl Case {
    fn new() -> Self {
        let records = Arc::new(Records(Mutex::new(Err(Unresolved::NoAnswer))));
        let small = crate::queue::Settings { segment_octets: 64 * 1024, ..Default::default() };
        let settings = crate::queue::Settings { free_octets_min: 0, free_files_min: 0, ..small };
        let disk = Arc::new(SimulatedDisk::new());
        let (queue, _) = Queue::open(disk, Path::new("/queue"), settings, None).unwrap();
        let selector: Selector = "s1".parse().unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
        let signers = Arc::new(Signers::new(vec![Signer::new("us.example", selector, key)]));
        let settings = Settings {
            hostname: "mx.us.example".to_owned(),
            organization: "Us".to_owned(),
            from: "tls@us.example".parse().unwrap(),
        };
        let tools = Tools {
            ledger: Ledger::default(),
            resolver: records.clone(),
            queue,
            signers: Box::new(move || Arc::clone(&signers)),
            metrics: Metrics::register(&Registry::new()).unwrap(),
        };
        Self { sender: Sender { settings, tools }, records }
    }

    fn note(&self, day: u64) {
        let policy = Applied {
            kind: PolicyKind::MtaSts,
            domain: "to.example".to_owned(),
            mail_domain: "to.example".to_owned(),
            published: vec!["version: STSv1".to_owned()],
            exchangers: vec!["mx.to.example".to_owned()],
            fault: None,
        };
        let failure = Failure {
            result: ResultType::CertificateExpired,
            host: "mx.to.example".to_owned(),
            address: Some("192.0.2.1".parse().unwrap()),
            reason: "certificate not accepted".to_owned(),
        };
        self.sender.tools.ledger.note(day * DAY_MS, &policy, None);
        self.sender.tools.ledger.note(day * DAY_MS + 1, &policy, Some(failure));
    }

    fn answer(&self, answer: Result<&'static str, Unresolved>) {
        *self.records.0.lock().unwrap() = answer;
    }

    /// Queued, unwanted, unsupported, failed; and what is still to be reported.
    async fn report(&self, day: u64) -> ([u64; 4], usize) {
        self.sender.report_before(day * DAY_MS).await;
        let Metrics { queued, unwanted, unsupported, failed } = &self.sender.tools.metrics;
        let counts = [queued, unwanted, unsupported, failed].map(IntCounter::get);
        (counts, self.sender.tools.ledger.due(day * DAY_MS).len())
    }
}

#[tokio::test]
async fn a_day_that_is_over_is_reported_once_by_a_signed_mail_to_all_who_are_named() {
    let case = Case::new();
    case.note(100);
    case.answer(Ok("v=TLSRPTv1; rua=mailto:one@to.example,https://to.example/,mailto:two@else.example"));
    assert_eq!(case.report(100).await, ([0; 4], 0), "the day is not over");
    assert_eq!(case.report(101).await, ([1, 0, 0, 0], 0));
    assert_eq!(case.report(101).await, ([1, 0, 0, 0], 0), "once");
    let claim = case.sender.tools.queue.claim().await.unwrap();
    let Submission { envelope, .. } = &claim.message.submission;
    assert_eq!(envelope.reverse_path.to_string(), "<tls@us.example>");
    let recipients: Vec<_> = envelope.recipients.iter().map(|it| it.path.to_string()).collect();
    assert_eq!(recipients, ["<one@to.example>", "<two@else.example>"]);
    assert!(envelope.recipients.iter().all(|it| it.params.notify == Some(Notify::Never)));
    let trace = String::from_utf8(claim.message.trace.clone()).unwrap();
    assert!(trace.contains("\r\nDKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=us.example;"));
    let Body::Memory(mail) = &claim.message.body else { panic!("it is small") };
    let mail = String::from_utf8(mail.to_vec()).unwrap();
    assert!(mail.contains("\r\nTLS-Report-Domain: to.example\r\n"), "{mail}");
    assert!(mail.contains("from Us to the mail exchangers of\r\nto.example, 1970-04-11T00:00:00Z"), "{mail}");
}

#[tokio::test]
async fn results_wait_for_a_name_server_that_is_silent_and_not_for_ever() {
    let case = Case::new();
    case.note(100);
    assert_eq!(case.report(101).await, ([0; 4], 1));
    case.answer(Err(Unresolved::Bogus));
    assert_eq!(case.report(102).await, ([0; 4], 1));
    assert_eq!(case.report(103).await, ([0; 4], 0), "too late");
}

#[tokio::test]
async fn who_asks_for_none_or_not_by_mail_gets_none() {
    let case = Case::new();
    case.note(100);
    case.answer(Err(Unresolved::NoSuchName));
    assert_eq!(case.report(101).await, ([0, 1, 0, 0], 0));
    case.note(101);
    case.answer(Ok("v=spf1 -all"));
    assert_eq!(case.report(102).await, ([0, 2, 0, 0], 0));
    case.note(102);
    case.answer(Ok("v=TLSRPTv1; rua=https://to.example/reports"));
    assert_eq!(case.report(103).await, ([0, 2, 1, 0], 0));
}

#[tokio::test]
async fn a_report_that_the_queue_does_not_take_waits() {
    let case = Case::new();
    case.note(100);
    case.answer(Ok("v=TLSRPTv1; rua=mailto:one@to.example"));
    case.sender.tools.queue.close().await;
    assert_eq!(case.report(101).await, ([0, 0, 0, 1], 1));
}
