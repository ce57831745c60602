//! Rights: no octets make up for one that is missing.
//!
//! The house in `Peer` asks for the right itself whenever a verb between servers reaches it, and counts every 354.

use gatepost_smtp::server::{Config, Extensions, Notice, PeerClass, Right};
use gatepost_smtp::wire::limits;

use crate::input::Input;
use crate::peer::{BLOB_OCTETS, Event, Peer, answers, listener};
use crate::reply;

/// A peer of any class, any octets: a verb is offered, gets a 354 and goes through with its right only; and without it the
/// reply is the same wherever the verb stands.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (choice, classes, house, cuts) = (input.octet(), input.octet(), input.octet(), input.cuts());
    let class = PeerClass::ALL[usize::from(classes % 5)];
    let user_class = PeerClass::ALL[usize::from(classes / 5 % 5)];
    let config = config(choice, house);
    let rights = config.rights;
    let mut peer = Peer::of_classes(config, answers(house), class, user_class);
    for group in input.rest().split(|octet| *octet == 0xff) {
        for piece in cuts.pieces(group) {
            peer.feed(piece);
        }
        if peer.is_upgrading && peer.closed.is_none() {
            peer.secure();
        }
        // Whoever has authenticated within this group may have been listed the verbs of both classes.
        let is_authenticated = peer.session().identity().is_some();
        let heard = peer.heard();
        check_offers(&heard, |right| {
            rights.of(class).contains(right) || (is_authenticated && rights.of(user_class).contains(right))
        });
    }
    for event in &peer.events {
        let Event::Noticed(Notice::Attack { class, verb, .. }) = event else { continue };
        let right = RIGHTS.iter().find(|(name, _)| name == verb).map(|(_, right)| *right);
        assert!(
            right.is_none_or(|right| !rights.of(*class).contains(right)),
            "{verb} is no attack of {class:?}"
        );
    }
}

/// A server behind us or none; servers with all rights of their class or without some.
fn config(choice: u8, house: u8) -> Config {
    let mut config = listener(choice);
    if house & 0x10 == 0 {
        config.extensions = Extensions::PassThrough { blob_octets: BLOB_OCTETS };
    }
    for (bit, (_, right)) in RIGHTS.iter().enumerate() {
        if house & (0x20 << (bit % 3)) != 0 {
            let fewer = config.rights.of(PeerClass::Server).without(*right);
            config.rights = config.rights.with(PeerClass::Server, fewer);
        }
    }
    config
}

fn check_offers(heard: &[u8], has: impl Fn(Right) -> bool) {
    for (code, text) in reply::split(heard) {
        if code == 504 && text.starts_with("504 5.7.0") {
            assert!(text.len() <= limits::XEXCH50_REPLY_OCTETS, "{text}");
        }
        if code != 250 {
            continue;
        }
        for (verb, right) in RIGHTS {
            let is_offered = text
                .lines()
                .any(|line| line.get(4..).is_some_and(|words| words.split(' ').next() == Some(verb)));
            assert!(!is_offered || has(*right), "{verb} is offered: {text:?}");
        }
    }
}

const RIGHTS: &[(&str, Right)] = &[
    ("XEXCH50", Right::AcceptExch50),
    ("X-LINK2STATE", Right::AcceptLinkState),
    ("X-EXPS", Right::AcceptServerAuth),
    ("ETRN", Right::AcceptDequeue),
    ("ATRN", Right::AcceptDequeue),
    ("XSHADOW", Right::AcceptOpaque),
    ("XPROXY", Right::AcceptOpaque),
    ("X-ANONYMOUSTLS", Right::AcceptServerTls),
    ("XCLIENT", Right::AcceptXclient),
    ("XFORWARD", Right::AcceptXclient),
];
