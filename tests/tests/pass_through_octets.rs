//! What arrives through Gatepost is what arrives without it: every mail of the corpus, every way, whatever extensions the
//! server behind has.

use std::fmt::Write as _;

use gatepost_tests::aiosmtpd::Aiosmtpd;
use gatepost_tests::corpus::{self, Specimen, Way};
use gatepost_tests::next_hop::{NextHop, Taken};
use gatepost_tests::pass_through::{before, wait_for_offer};
use gatepost_tests::smtp::Smtp;

const WAYS: [Way; 5] =
    [Way::Data, Way::Pieces(1_021), Way::Chunks(4_093), Way::Chunks(70_000), Way::Chunks(usize::MAX)];

const FROM: &str = "someone@remote.example";
const TO: [&str; 2] = ["ann@to.example", "bob@to.example"];

#[test]
fn what_is_sent_in_lines_arrives_as_it_does_directly() {
    compare(NextHop::start, &WAYS, &corpus::lines(), None);
}

#[test]
fn what_is_sent_in_lines_arrives_at_a_server_with_chunking_as_it_does_directly() {
    compare(|| NextHop::start().offering("CHUNKING"), &WAYS, &corpus::lines(), None);
}

#[test]
fn binary_mails_arrive_as_they_do_directly() {
    let hop = || NextHop::start().offering("CHUNKING").offering("BINARYMIME");
    let ways = [Way::Chunks(1), Way::Chunks(65_536), Way::Chunks(usize::MAX)];
    let small =
        corpus::binaries().into_iter().filter(|specimen| specimen.octets.len() < 1_000).collect::<Vec<_>>();
    compare(hop, &ways[..1], &small, Some("BINARYMIME"));
    compare(hop, &ways[1..], &corpus::binaries(), Some("BINARYMIME"));
}

#[test]
fn aiosmtpd_behind_keeps_the_same_octets() {
    let behind = Aiosmtpd::start();
    let server = before(([127, 0, 0, 1], behind.port).into()).start();
    let specimens = corpus::lines();
    let mut smtp = server.smtp_open();
    for way in [Way::Data, Way::Chunks(10_000)] {
        for specimen in &specimens {
            specimen.send(&mut smtp, way, FROM, &TO).must("250");
        }
    }
    smtp.quit();
    let kept = behind.mails(2 * specimens.len());
    let mut wrong = String::new();
    for (kept, specimen) in kept.iter().zip(specimens.iter().chain(&specimens)) {
        if kept.octets != specimen.octets || kept.sender != FROM || kept.recipients != TO {
            writeln!(wrong, "{specimen:?}: {} octets", kept.octets.len()).expect("memory");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Sends everything to a server, and to another one of the kind through Gatepost.
fn compare(hop: impl Fn() -> NextHop, ways: &[Way], specimens: &[Specimen], offer: Option<&str>) {
    let (direct, behind) = (hop(), hop());
    let server = before(behind.address).listener_keys("binarymime = true").log_level("info").start();
    if let Some(offer) = offer {
        wait_for_offer(&server, offer);
    }
    let has_chunking = direct_has_chunking(&direct);
    let mut wrong = String::new();
    for way in ways {
        let way_there = if has_chunking || !matches!(way, Way::Chunks(_)) { *way } else { Way::Data };
        let before = behind.taken_so_far().len();
        let mut smtp = Smtp::connect(direct.address.port());
        smtp.say("EHLO client.example").must("250");
        let mut through = server.smtp_open();
        for specimen in specimens {
            specimen.send(&mut smtp, way_there, FROM, &TO).must("250");
            specimen.send(&mut through, *way, FROM, &TO).must("250");
        }
        smtp.quit();
        through.quit();
        let (sent, arrived) =
            (direct.taken(before + specimens.len()), behind.taken(before + specimens.len()));
        for ((sent, arrived), specimen) in sent.iter().zip(&arrived).skip(before).zip(specimens) {
            if let Some(difference) = difference(sent, arrived, specimen) {
                writeln!(wrong, "{way:?}, {specimen:?}: {difference}").expect("memory");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn difference(sent: &Taken, arrived: &Taken, specimen: &Specimen) -> Option<String> {
    if sent.octets != specimen.octets {
        return Some("the direct way has altered it".to_owned());
    }
    if sent.octets != arrived.octets {
        let same = sent.octets.iter().zip(&arrived.octets).take_while(|(one, other)| one == other).count();
        let lengths = (sent.octets.len(), arrived.octets.len());
        let around = &arrived.octets[same.saturating_sub(20)..arrived.octets.len().min(same + 20)];
        return Some(format!("{lengths:?} octets, from {same} on: {}", around.escape_ascii()));
    }
    let envelopes = (&sent.sender, &sent.recipients) == (&arrived.sender, &arrived.recipients);
    (!envelopes).then(|| format!("{} {:?}", arrived.sender, arrived.recipients))
}

fn direct_has_chunking(direct: &NextHop) -> bool {
    let mut smtp = Smtp::connect(direct.address.port());
    let hello = smtp.say("EHLO client.example");
    smtp.quit();
    hello.offers("CHUNKING")
}
