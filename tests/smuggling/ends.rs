//! Ends of DATA.

use super::place::{WAYS, Way};
use super::play::{Case, assert_delivered, play, server};
use super::variants::VARIANTS;

#[test]
fn every_variant_cut_everywhere_comes_out_as_the_model_says() {
    let server = server("");
    let cases: Vec<Case> =
        VARIANTS.iter().flat_map(|variant| Case::behind_text(variant).cut_everywhere()).collect();
    play(&server, &cases);
}

#[test]
fn every_variant_comes_out_the_same_wherever_it_stands() {
    let server = server("");
    let mut cases = Vec::new();
    for lead in leads() {
        cases
            .extend(VARIANTS.iter().map(|variant| Case { lead: lead.clone(), ..Case::behind_text(variant) }));
    }
    play(&server, &cases);
}

/// Within a header, where the header ends, at the very start of a body, at the start of a line, behind a folded line, behind
/// lines at their limits, and where a read of the server's may end.
fn leads() -> Vec<Vec<u8>> {
    let long = |octets: usize| [b"Subject: long\r\n\r\n".as_slice(), &b"x".repeat(octets)].concat();
    let mut leads: Vec<Vec<u8>> = [
        "Subject: within a field",
        "Subject: x\r\n",
        "",
        "\r\n",
        "Subject: x\r\n folded",
        "Subject: x\r\n\r\nx\r\n",
        "Subject: x\r\n\r\nx\r\n..",
    ]
    .map(|lead| lead.as_bytes().to_vec())
    .to_vec();
    leads.extend([996, 997, 998, 999, 1_000, 4_096, 16_384 - 17, 16_384, 70_000].map(long));
    leads
}

#[test]
fn every_variant_comes_out_the_same_however_the_session_began() {
    let server = server("");
    let mut cases = Vec::new();
    for way in WAYS {
        cases.extend(VARIANTS.iter().map(|variant| Case { way, ..Case::behind_text(variant) }));
    }
    // Of the mails that stand in front of the others, one for each.
    play(&server, &cases);
    assert_eq!(server.inbox(VARIANTS.len()).len(), VARIANTS.len());
}

/// Not only what somebody has thought of.
#[test]
fn every_mix_of_five_cr_lf_and_dots_comes_out_as_the_model_says() {
    let server = server("");
    let mut cases = Vec::new();
    for lead in ["Subject: mix\r\n\r\nx", "Subject: mix\r\n\r\n", ""] {
        cases
            .extend((1..=5).flat_map(mixes).map(|mix| Case { lead: lead.into(), ..Case::behind_text(&mix) }));
    }
    play(&server, &cases);
}

fn mixes(length: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..3_usize.pow(length))
        .map(move |number| (0..length).map(|place| b"\r\n."[number / 3_usize.pow(place) % 3]).collect())
}

#[test]
fn a_mail_over_the_limit_ends_at_its_true_end_as_well() {
    let server = server("[limits]\nmessage = \"1 MiB\"");
    let is_true = |variant: &&&[u8]| variant.windows(5).any(|window| window == b"\r\n.\r\n");
    for variant in VARIANTS.iter().filter(|variant| !is_true(variant)) {
        let mut smtp = Way::Plain.open(&server);
        smtp.send(&[b"Subject: large\r\n\r\n", &b"x".repeat(1_100_000)[..], variant].concat());
        smtp.send(b"\r\nMAIL FROM:<evil@b.example>\r\n.\r\n");
        let reply = smtp.reply();
        assert!(matches!(reply.code, 552 | 554), "{}: {reply:?}", variant.escape_ascii());
    }
    assert_delivered(&server, std::iter::empty());
}
