use std::time::Instant;

use gatepost_smtp::client::{Config, Outcome, Output, Protocol, Session};
use proptest::prelude::*;

use crate::dialog::{config, mail, shown};
use crate::server::{Script, Server};

/// Sends one mail to a server that offers this; what came of it, and what the server has.
fn send(
    offered: &[&str],
    script: &Script,
    recipients: usize,
    body: &[u8],
    cut: usize,
) -> (Vec<Outcome>, Server) {
    let protocol = if script.is_lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    let now = Instant::now();
    let mut session = Session::new(Config { protocol, ..config() }, now);
    session.feed(now, b"220 hello\r\n");
    assert!(matches!(session.poll(), Some(Output::Send(_))));
    let keywords: String = offered.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
    session.feed(now, format!("250-mx\r\n{keywords}250 HELP\r\n").as_bytes());
    assert_eq!(session.poll(), Some(Output::Ready));
    let names: Vec<_> = (0..recipients).map(|n| format!("r{n}@mx.example")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    session.begin(now, mail(&names, body)).unwrap();
    let (mut server, mut rest) = (Server::new(script.clone()), body);
    let mut outcomes = None;
    let mut unheard = Vec::new();
    loop {
        match session.poll() {
            Some(Output::Send(octets)) => unheard.extend_from_slice(&octets),
            Some(Output::NeedBody { octets_max }) => {
                let part = cut.min(rest.len()).min(usize::try_from(octets_max).unwrap());
                let (part, tail) = rest.split_at(part);
                rest = tail;
                session.body(now, part);
            }
            Some(Output::Done(done)) => outcomes = Some(done),
            Some(Output::Ready) => return (outcomes.unwrap(), server),
            Some(other) => panic!("{other:?}"),
            None => {
                let replies = server.hear(&std::mem::take(&mut unheard));
                assert!(!replies.is_empty(), "nobody waits for anybody");
                for part in replies.as_bytes().chunks(cut) {
                    session.feed(now, part);
                }
            }
        }
    }
}

fn refusal() -> impl Strategy<Value = u16> {
    prop_oneof![Just(450_u16), Just(452), Just(550), Just(554)]
}

fn scripts() -> impl Strategy<Value = Script> {
    let mail = prop_oneof![8 => Just(250_u16), 1 => refusal()];
    let rcpt = prop::collection::vec(prop_oneof![3 => Just(250_u16), 2 => refusal()], 1..5);
    let data = prop_oneof![8 => Just(354_u16), 1 => refusal()];
    let end = prop::collection::vec(prop_oneof![3 => Just(250_u16), 1 => refusal()], 1..4);
    (mail, rcpt, data, end, any::<bool>()).prop_map(|(mail, rcpt, data, end, is_lmtp)| Script {
        mail,
        rcpt,
        data,
        end,
        is_lmtp,
    })
}

proptest! {
    #[test]
    fn a_mail_comes_to_the_same_with_and_without_groups_and_chunks(
        mut script in scripts(), recipients in 1_usize..120, lines in prop::collection::vec("[.a]{0,3}", 0..6), cut in 1_usize..40,
    ) {
        let body: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
        let (one_by_one, server) = send(&[], &script, recipients, &body, cut);
        let expected: Vec<_> = one_by_one.iter().map(shown).collect();
        let (group, grouped) = send(&["PIPELINING"], &script, recipients, &body, cut);
        prop_assert_eq!(&expected, &group.iter().map(shown).collect::<Vec<_>>());
        prop_assert_eq!(&server.bodies, &grouped.bodies);
        for (accepted, received) in &server.bodies {
            prop_assert!(*accepted > 0 && *received == body);
        }
        let delivered = one_by_one.iter().filter(|outcome| matches!(outcome, Outcome::Accepted(_))).count();
        prop_assert!(delivered == 0 || server.bodies.len() == 1, "accepted only with the body");
        // Chunks have no DATA that could be refused.
        script.data = 354;
        let expected: Vec<_> = send(&[], &script, recipients, &body, cut).0.iter().map(shown).collect();
        for offered in [["CHUNKING", "X"], ["CHUNKING", "PIPELINING"]] {
            let (chunked, server) = send(&offered, &script, recipients, &body, cut);
            prop_assert_eq!(&expected, &chunked.iter().map(shown).collect::<Vec<_>>());
            prop_assert!(server.bodies.iter().all(|(_, received)| *received == body));
        }
    }

    #[test]
    fn whatever_a_server_says_every_recipient_has_one_outcome(
        replies in prop::collection::vec((prop::sample::select(vec![220_u16, 221, 250, 251, 334, 354, 421, 450, 550]), any::<bool>()), 0..40),
        keywords in prop::sample::subsequence(vec!["PIPELINING", "CHUNKING", "SIZE 100", "DSN", "8BITMIME"], 0..5),
        recipients in 0_usize..5, is_lmtp: bool,
    ) {
        let now = Instant::now();
        let protocol = if is_lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let mut session = Session::new(Config { protocol, ..config() }, now);
        let names: Vec<_> = (0..recipients).map(|n| format!("r{n}@mx.example")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let hello: String = keywords.iter().map(|keyword| format!("250-{keyword}\r\n")).collect();
        let mut script = vec!["220 x\r\n".to_owned(), format!("250-mx\r\n{hello}250 HELP\r\n")].into_iter().chain(
            replies.iter().map(|(code, is_long)| if *is_long { format!("{code}-a\r\n{code} b\r\n") } else { format!("{code} a\r\n") }),
        );
        let (mut begun, mut done, mut is_closed) = (0, 0, false);
        loop {
            match session.poll() {
                Some(Output::Ready) => {
                    prop_assert_eq!(begun, done);
                    session.begin(now, mail(&names, b"x\r\n")).unwrap();
                    begun += 1;
                    if begun > 20 {
                        break;
                    }
                }
                Some(Output::Done(outcomes)) => {
                    prop_assert_eq!(outcomes.len(), recipients);
                    done += 1;
                }
                Some(Output::NeedBody { .. }) => session.body(now, b"x\r\n"),
                Some(Output::Close(ending)) => {
                    is_closed = true;
                    prop_assert!(ending.is_err() && begun == done);
                }
                Some(Output::Send(_)) => prop_assert!(!is_closed),
                Some(Output::Upgrade | Output::Prove(_) | Output::Replied(_)) => {
                    prop_assert!(false, "it was not asked for");
                }
                None if is_closed => break,
                None => match script.next() {
                    Some(reply) => session.feed(now, reply.as_bytes()),
                    None => session.eof(now),
                },
            }
        }
    }
}
