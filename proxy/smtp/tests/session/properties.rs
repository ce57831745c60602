//! What holds for every dialog, legal or not.

use gatepost_smtp::server::{ClassRights, Config, Limits, Mechanism, TlsMode};
use gatepost_smtp::wire::command::Command;
use gatepost_smtp::wire::data::{DataDecoder, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::scenario::{Event, Scenario, submission};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_same_octets_gives_the_same_session(dialog in dialog(), cuts in vec(any::<Index>(), 0..12)) {
        let whole = play(&dialog, &[]);
        prop_assert_eq!(&whole, &play(&dialog, &cuts));
        prop_assert_eq!(&whole, &play_octet_by_octet(&dialog));
    }

    #[test]
    fn arbitrary_octets_end_no_session_twice_and_panic_nowhere(
        parts in vec(prop_oneof![vec(any::<u8>(), 0..200), select(FRAGMENTS).prop_map(|text| text.as_bytes().to_vec())], 0..30),
    ) {
        let mut scenario = Scenario::inside_tls(listener(false));
        for part in parts {
            scenario.feed(&part);
        }
        let closed = scenario.events.iter().position(|event| matches!(event, Event::Closed(_)));
        prop_assert!(closed.is_none_or(|at| at + 1 == scenario.events.len()), "the end is the last output");
    }

    #[test]
    fn replies_have_their_codes_and_nothing_of_the_peer(dialog in dialog(), parts in vec(select(PEER_TEXTS), 0..8)) {
        let mut scenario = Scenario::inside_tls(listener(false));
        for part in dialog.iter().map(Vec::as_slice).chain(parts.iter().map(|text| text.as_bytes())) {
            scenario.feed(part);
        }
        let (_, heard) = scenario.heard();
        prop_assert!(!heard.contains("PEER"), "{}", heard);
        prop_assert!(heard.is_empty() || heard.ends_with("\r\n"));
        for line in heard.split_terminator("\r\n") {
            prop_assert!(is_well_formed(line), "{}", line);
        }
    }

    #[test]
    fn no_upgrade_has_octets_behind_it(before in vec(select(FRAGMENTS), 0..8), behind in vec(any::<u8>(), 1..20)) {
        let octets = [b"EHLO c\r\n", before.concat().as_bytes(), b"\r\nSTARTTLS\r\n", &behind].concat();
        let mut scenario = Scenario::on(submission());
        scenario.feed(&octets);
        prop_assert!(!scenario.events.contains(&Event::Upgraded));
    }

    #[test]
    fn a_command_is_the_same_after_writing_and_reading_it(line in command_line()) {
        if let Ok(command) = Command::parse(line.as_bytes()) {
            let written = command.to_string();
            prop_assert!(!written.contains(['\r', '\n', '\0']));
            prop_assert_eq!(Command::parse(written.as_bytes()), Ok(command));
        }
    }

    #[test]
    fn an_encoded_body_decodes_to_itself(lines in vec("[ -~ä]{0,3}|\\.{1,3}[a.]{0,2}", 0..20), cuts in vec(any::<Index>(), 0..8)) {
        let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut encoded = Vec::new();
        encode(body.as_bytes(), &mut encoded);
        let mut decoder = DataDecoder::default();
        let mut decoded = Vec::new();
        for piece in split(&encoded, &cuts) {
            prop_assert_eq!(decoder.decode(piece, &mut |octets| decoded.extend_from_slice(octets)), piece.len());
        }
        prop_assert!(decoder.is_finished() && decoder.fault().is_none());
        prop_assert_eq!(String::from_utf8(decoded).unwrap(), body);
    }

    #[test]
    fn a_decoder_that_tolerates_bare_lf_reads_what_a_strict_one_reads_of_crlf(
        octets in vec(select(&b"\r\n\n\n..\0ab"[..]), 0..60), cuts in vec(any::<Index>(), 0..8),
    ) {
        let mut tolerant = DataDecoder::quirk_bare_lf();
        let mut tolerated = Vec::new();
        for piece in split(&octets, &cuts) {
            let _ = tolerant.decode(piece, &mut |octets| tolerated.extend_from_slice(octets));
        }
        let mut normal = Vec::new();
        for (index, octet) in octets.iter().enumerate() {
            if *octet == b'\n' && (index == 0 || octets[index - 1] != b'\r') {
                normal.push(b'\r');
            }
            normal.push(*octet);
        }
        let mut strict = DataDecoder::default();
        let mut decoded = Vec::new();
        let _ = strict.decode(&normal, &mut |octets| decoded.extend_from_slice(octets));
        prop_assert_eq!((tolerant.is_finished(), tolerant.fault()), (strict.is_finished(), strict.fault()));
        if strict.fault().is_none() {
            prop_assert_eq!(tolerated, decoded);
        }
    }

    #[test]
    fn the_decoder_agrees_with_a_naive_one(octets in vec(select(&b"\r\n\r\n..\0ab"[..]), 0..60), cuts in vec(any::<Index>(), 0..8)) {
        let mut decoder = DataDecoder::default();
        let (mut decoded, mut taken) = (Vec::new(), 0);
        for piece in split(&octets, &cuts) {
            taken += decoder.decode(piece, &mut |octets| decoded.extend_from_slice(octets));
        }
        let naive = decode_naively(&octets);
        prop_assert_eq!(decoder.is_finished(), naive.end.is_some());
        prop_assert_eq!(taken, naive.end.unwrap_or(octets.len()));
        if naive.end.is_some() {
            prop_assert_eq!(decoder.fault().is_none(), naive.body.is_some());
            prop_assert_eq!(naive.body.unwrap_or_else(|| decoded.clone()), decoded);
        }
    }
}

/// RFC 2034: an enhanced code of the same class in every reply but 334, 354 and those to EHLO and HELO.
fn is_well_formed(line: &str) -> bool {
    let (code, text) = (&line[..3], &line[4..]);
    let is_hello = code == "250"
        && (text == "mx.example" || HELLO_KEYWORDS.iter().any(|keyword| text.starts_with(keyword)));
    let mut enhanced = text.split(' ').next().unwrap_or_default().split('.');
    let has_enhanced = enhanced.next() == Some(&code[..1])
        && enhanced.next().is_some_and(|subject| subject.parse::<u8>().is_ok())
        && enhanced.next().is_some_and(|detail| detail.parse::<u8>().is_ok());
    match code {
        "334" | "354" => !has_enhanced,
        _ => is_hello || has_enhanced,
    }
}

const HELLO_KEYWORDS: &[&str] = &[
    "PIPELINING",
    "SIZE ",
    "AUTH ",
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "DSN",
    "REQUIRETLS",
    "BINARYMIME",
];

const PEER_TEXTS: &[&str] = &[
    "EHLO PEER.example\r\n",
    "HELO PEER\r\n",
    "EHLO PEER(x)\r\n",
    "PEER\r\n",
    "VRFY PEER\r\n",
    "NOOP PEER\r\n",
    "AUTH PEER\r\n",
    "MAIL FROM:<PEER@PEER> PEER=PEER\r\n",
    "MAIL FROM:<PEER@PEER>\r\n",
    "RCPT TO:<PEER@PEER>\r\n",
    "BDAT 4 LAST\r\nPEER",
];

/// The reference: finds the end by searching, and splits what stands before it.
struct Naive {
    /// Octets up to and with the end of data.
    end: Option<usize>,
    /// `None` where the body has a fault.
    body: Option<Vec<u8>>,
}

fn decode_naively(octets: &[u8]) -> Naive {
    let stream = [b"\r\n", octets].concat();
    let Some(at) = stream.windows(5).position(|window| window == b"\r\n.\r\n") else {
        return Naive { end: None, body: None };
    };
    let text = String::from_utf8(stream[..at + 2].to_vec()).unwrap();
    let lines: Vec<_> =
        text[2..].split_inclusive("\r\n").map(|line| line.strip_suffix("\r\n").unwrap_or(line)).collect();
    let is_legal = !lines.iter().any(|line| line.contains(['\r', '\n', '\0']));
    let body: String =
        lines.iter().map(|line| format!("{}\r\n", line.strip_prefix('.').unwrap_or(line))).collect();
    Naive { end: Some(at + 3), body: is_legal.then_some(body.into_bytes()) }
}

/// Groups of octets; a client waits for the replies between two groups.
fn dialog() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let body = prop_oneof![
        3 => vec("[a-z.]{0,4}", 0..4).prop_map(|lines| format!("{}\r\n.\r\n", lines.join("\r\n"))),
        1 => "[a.\r\n\0]{0,12}".prop_map(|text| format!("{text}\r\n.\r\n")),
        1 => Just(format!("{}\r\n.\r\n", "long ".repeat(60))),
    ];
    let transaction = ("[a-z]{1,3}|nobody|forged", "[a-z]{1,3}|nobody")
        .prop_map(|(from, to)| format!("MAIL FROM:<{from}@b>\r\nRCPT TO:<{to}@x>\r\nRCPT TO:<joe@x>\r\n"));
    let chunk = ("[a\r\n.]{0,9}|[a-z]{0,9}", any::<bool>()).prop_map(|(octets, last)| {
        format!("BDAT {}{}\r\n{octets}", octets.len(), if last { " LAST" } else { "" })
    });
    let with_data =
        (transaction.clone(), body).prop_map(|(begin, body)| vec![format!("{begin}DATA\r\n"), body]);
    let with_chunks =
        (transaction, vec(chunk.clone(), 1..4)).prop_map(|(begin, chunks)| vec![begin + &chunks.concat()]);
    let fragments = vec(select(FRAGMENTS), 1..6).prop_map(|texts| vec![texts.concat()]);
    let auth = select(AUTHS).prop_map(|text| vec![text.to_owned()]);
    let step = prop_oneof![3 => with_data, 3 => with_chunks, 2 => fragments, 2 => auth, 1 => chunk.prop_map(|text| vec![text])];
    vec(step, 0..5).prop_map(|steps| {
        let hello = std::iter::once("EHLO c.example\r\n".to_owned());
        hello.chain(steps.concat()).map(String::into_bytes).collect()
    })
}

const FRAGMENTS: &[&str] = &[
    "NOOP\r\n",
    "RSET\r\n",
    "EHLO again\r\n",
    "HELO again\r\n",
    "QUIT\r\n",
    "MAIL FROM:<a@b>\r\n",
    "MAIL FROM:<ä@b> SMTPUTF8 SIZE=10\r\n",
    "MAIL FROM:<> SIZE=999999999999\r\n",
    "RCPT TO:<joe@x>\r\n",
    "RCPT TO:<nobody@x>\r\n",
    "BDAT 3\r\nabc",
    "BDAT 2 LAST\r\na\r",
    "BDAT 300\r\n",
    "BDAT x\r\n",
    "VRFY joe\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "WHAT is this\r\n",
    "AUTH PLAIN\r\n",
    "XEXCH50 2 2\r\n",
    "X-LINK2STATE CHUNK=a\r\n",
    "DEBUG\r\n",
    "NOOP ................................................................................................................\
     ................................................................................................................\
     ................................................................................................................\
     ................................................................................................................\
     ................................................................................................................\r\n",
];

const AUTHS: &[&str] = &[
    "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n",
    "AUTH PLAIN\r\nAGpvZQBzZWNyZXQ=\r\n",
    "AUTH PLAIN\r\n*\r\n",
    "AUTH PLAIN\r\n!\r\n",
    "AUTH LOGIN\r\nam9l\r\nc2VjcmV0\r\n",
    "AUTH LOGIN am9l\r\nd3Jvbmc=\r\n",
    "AUTH SCRAM-SHA-256 Y2xpZW50LWZpcnN0\r\nY2xpZW50LWZpbmFs\r\n\r\n",
    "AUTH SCRAM-SHA-256 Y2xpZW50LWZpcnN0\r\nY2xpZW50LWZpbmFs\r\nZm9v\r\n",
];

/// Small limits, so that generated dialogs reach them.
fn listener(require_auth: bool) -> Config {
    let limits = Limits { message_octets: 250, drain_octets: 700, errors: 6, ..Limits::default() };
    let mut config = Config { limits, binarymime: true, ..submission() };
    if !require_auth {
        config.rights = ClassRights::default();
    }
    config.tls = TlsMode::Implicit;
    config.auth.inside_tls = vec![Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];
    config
}

fn play(dialog: &[Vec<u8>], cuts: &[Index]) -> (Vec<Event>, Vec<Vec<u8>>) {
    let mut scenario = Scenario::inside_tls(listener(false));
    for group in dialog {
        for piece in split(group, cuts) {
            scenario.feed(piece);
        }
    }
    (scenario.events, scenario.stored)
}

fn play_octet_by_octet(dialog: &[Vec<u8>]) -> (Vec<Event>, Vec<Vec<u8>>) {
    let mut scenario = Scenario::inside_tls(listener(false));
    for octet in dialog.iter().flatten() {
        scenario.feed(&[*octet]);
    }
    (scenario.events, scenario.stored)
}

pub(crate) fn split<'a>(octets: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
    cuts.extend([0, octets.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &octets[pair[0]..pair[1]]).collect()
}

/// Lines that are commands, nearly so, or not at all.
fn command_line() -> impl Strategy<Value = String> {
    let local = r#"[a-z!#%.+]{1,5}|"[ -~]{0,5}"|[äß中]{1,3}"#;
    let domain =
        r"[a-z0-9-]{1,4}(\.[a-z]{1,3})?|\[127\.0\.0\.[0-9]{1,3}\]|\[IPv6:[0-9a-f:]{2,6}\]|ü\.example";
    let mailbox = (local, domain).prop_map(|(local, domain)| format!("{local}@{domain}"));
    let path = prop_oneof![
        4 => mailbox.clone().prop_map(|mailbox| format!("<{mailbox}>")),
        1 => mailbox.prop_map(|mailbox| format!("<@relay.example:{mailbox}>")),
        1 => select(&["<>", "<Postmaster>", "<", " <a@b>"][..]).prop_map(str::to_owned),
    ];
    let mail_params = r"( (SIZE=[0-9]{1,4}|BODY=(7BIT|8bitmime|BINARYMIME)|SMTPUTF8|REQUIRETLS|RET=(FULL|HDRS)|ENVID=[!-~]{1,6}|AUTH=(<>|[a-z]@[a-z]|\+C3\+A4@b))){0,3}";
    let rcpt_params = r"( (NOTIFY=(NEVER|SUCCESS|DELAY,FAILURE)|ORCPT=(rfc822|utf-8|X);[!-~ä]{1,6})){0,2}";
    prop_oneof![
        (path.clone(), mail_params).prop_map(|(path, params)| format!("MAIL FROM:{path}{params}")),
        (path, rcpt_params).prop_map(|(path, params)| format!("rcpt to:{path}{params}")),
        r"BDAT [0-9]{1,21}( LAST| last)?",
        r"AUTH [a-zA-Z0-9_-]{1,22}( (=|[A-Za-z0-9+/]{4}|[A-Za-z0-9+/=]{1,6}))?",
        r"(EHLO|helo) ([a-z0-9._-]{1,9}|\[[0-9.]{7,9}\]|\[IPv6:[0-9a-f:]{2,6}\])",
        r"(STARTTLS|DATA|RSET|NOOP|QUIT|VRFY|HELP|XFOO|EXPN|etrn|xoorg|TURN)( ?[ -~ä]{0,9})?",
        r"xexch50 -?[0-9]{1,21}( [0-9]{1,2})?|X-EXPS [a-z]{1,5}( =)?|XCLIENT (addr|port)=[0-9.]{1,9}",
        "\\PC{0,30}",
    ]
}
