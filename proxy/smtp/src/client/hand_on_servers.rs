//! What is handed on besides mails: somebody's login, and the verbs between servers.
//!
//! A login is told step by step: 334 comes out as a reply like others, and the session then takes nothing but the response.
//! A blob behind XEXCH50 is counted here as well: the server's last word on it is told when all of it was sent, whenever it came,
//! so that neither side loses count of the other.

use std::time::Instant;

use super::NotReady;
use super::contract::{Failure, Output, Stage, Unsuited};
use super::hand_on::{NotHandedOn, write};
use super::session::Session;
use super::state::State;
use crate::server::{Extension, Mechanism};
use crate::wire::auth::Secret;
use crate::wire::reply_parse::{ReplyClass, ServerReply};
use crate::wire::verb::Verb;

/// A blob on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    remaining: u64,
    /// What the server has said before the end.
    refusal: Option<ServerReply>,
}

// === impl Session ===

impl Session {
    /// AUTH, or X-EXPS. Behind a reply of 334 the session waits for `hand_on_response` or `hand_on_cancel`; any other is the
    /// end of the exchange.
    ///
    /// # Errors
    /// Where the server does not offer the mechanism by this verb, or something else is on its way.
    pub fn hand_on_auth(
        &mut self,
        now: Instant,
        verb: Verb,
        mechanism: Mechanism,
        initial_response: Option<&Secret>,
        out: &mut Vec<u8>,
    ) -> Result<(), NotHandedOn> {
        self.begin_alone(now)?;
        let offered = match verb {
            Verb::Auth => self.offered.mechanisms,
            Verb::XExps => self.offered.server_mechanisms,
            _ => return Err(NotReady.into()),
        };
        if !offered.contains(mechanism) {
            return Err(Unsuited::Mechanism.into());
        }
        write(out, format_args!("{} {}", verb.name(), mechanism.name()));
        if let Some(response) = initial_response {
            write(out, format_args!(" {}", response.to_initial_response()));
        }
        out.extend_from_slice(b"\r\n");
        self.reader.expect_challenge();
        self.awaited_of(Stage::Auth);
        Ok(())
    }

    /// The response to the challenge that was told last.
    ///
    /// # Errors
    /// Where none was.
    pub fn hand_on_response(
        &mut self,
        now: Instant,
        response: &Secret,
        out: &mut Vec<u8>,
    ) -> Result<(), NotReady> {
        self.begin_response(now)?;
        write(out, format_args!("{}\r\n", response.to_response()));
        self.awaited_of(Stage::Auth);
        Ok(())
    }

    /// Cancels the exchange (RFC 4954 section 4). Its reply is told.
    ///
    /// # Errors
    /// As `hand_on_response`.
    pub fn hand_on_cancel(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), NotReady> {
        self.begin_response(now)?;
        out.extend_from_slice(b"*\r\n");
        self.awaited_of(Stage::Auth);
        Ok(())
    }

    /// A verb between servers. Behind XEXCH50 and a reply of 354 its blob goes by `hand_on_blob`.
    ///
    /// # Errors
    /// Where the server does not offer it, or something else is on its way.
    pub fn hand_on_extension(
        &mut self,
        now: Instant,
        extension: &Extension,
        out: &mut Vec<u8>,
    ) -> Result<(), NotHandedOn> {
        self.begin_alone(now)?;
        if !self.offered.verbs.contains(extension.verb()) {
            return Err(Unsuited::Verb.into());
        }
        write(out, format_args!("{extension}\r\n"));
        self.blob = match extension {
            Extension::Exch50(exch50) => Some(Box::new(Blob { remaining: exch50.octets, refusal: None })),
            Extension::LinkState(_) | Extension::Line { .. } => None,
        };
        self.awaited_of(Stage::Extension);
        Ok(())
    }

    /// Octets of a blob, as they come. The reply to all of it is told once there are as many as were declared; of an empty one
    /// at once.
    pub fn hand_on_blob(&mut self, now: Instant, octets: &[u8], out: &mut Vec<u8>) {
        self.set_now(now);
        let (State::Blob, Some(blob)) = (self.state, &mut self.blob) else { return };
        let count = octets.len() as u64;
        if count > blob.remaining {
            return self.fail(Failure::BadContent);
        }
        blob.remaining = blob.remaining.saturating_sub(count);
        out.extend_from_slice(octets);
        self.end_blob_if_whole();
    }

    pub(super) fn extension_replied(&mut self, reply: ServerReply) {
        match (&self.blob, reply.class()) {
            (Some(_), ReplyClass::Intermediate) => {
                self.output(Output::Replied(reply));
                self.state = State::Blob;
                self.end_blob_if_whole();
            }
            // It may not have looked at a blob that it said yes to without asking for it.
            (Some(_), ReplyClass::Positive) | (None, ReplyClass::Intermediate) => {
                self.refused(Stage::Extension, reply);
            }
            _ => self.blob_over(reply),
        }
    }

    /// The last word on a blob.
    pub(super) fn blob_replied(&mut self, reply: ServerReply) {
        match reply.class() {
            ReplyClass::Intermediate => self.refused(Stage::Blob, reply),
            _ => self.blob_over(reply),
        }
    }

    /// A server may refuse a blob that it has not seen the end of: then it hears the rest all the same.
    pub(super) fn blob_refused(&mut self, reply: ServerReply) {
        match self.blob.as_deref_mut() {
            Some(blob @ Blob { refusal: None, .. }) => blob.refusal = Some(reply),
            _ => self.fail(Failure::Unsolicited(Stage::Blob)),
        }
    }

    fn end_blob_if_whole(&mut self) {
        let Some(Blob { remaining: 0, refusal }) = self.blob.as_deref_mut() else { return };
        match refusal.take() {
            Some(refusal) => self.blob_over(refusal),
            None => {
                self.blob = None;
                self.awaited_of(Stage::Blob);
            }
        }
    }

    fn blob_over(&mut self, reply: ServerReply) {
        self.blob = None;
        self.state = State::Conversing;
        self.output(Output::Replied(reply));
        self.rest_if_answered();
    }

    /// 334, and any other end of an exchange.
    pub(super) fn relayed_auth_replied(&mut self, reply: ServerReply) {
        let is_challenge = reply.class() == ReplyClass::Intermediate;
        self.output(Output::Replied(reply));
        if is_challenge {
            self.state = State::Challenged;
        } else {
            self.reader.expect_replies();
            self.rest_if_answered();
        }
    }

    /// What has no place in a group.
    fn begin_alone(&mut self, now: Instant) -> Result<(), NotReady> {
        self.set_now(now);
        self.expect_silence();
        if self.state == State::Idle && self.awaited.is_empty() { Ok(()) } else { Err(NotReady) }
    }

    fn begin_response(&mut self, now: Instant) -> Result<(), NotReady> {
        self.set_now(now);
        self.expect_silence();
        if self.state == State::Challenged { Ok(()) } else { Err(NotReady) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Config, Patience, Protocol, StartTls};
    use crate::wire::command::Command;
    use crate::wire::extension::Exch50;

    /// A session that stands between mails with a server which has said this to EHLO, and what it writes.
    struct Dialog {
        session: Session,
        now: Instant,
        out: Vec<u8>,
    }

    impl Dialog {
        fn with(keywords: &str) -> Self {
            let now = Instant::now();
            let config = Config {
                name: "edge.example".parse().unwrap(),
                protocol: Protocol::default(),
                starttls: StartTls::Never,
                login: None,
                patience: Patience::default(),
            };
            let mut dialog = Self { session: Session::new(config, now), now, out: Vec::new() };
            dialog.session.feed(now, b"220 mx.example\r\n");
            let hello: String = keywords.lines().map(|line| format!("250-{line}\r\n")).collect();
            dialog.session.feed(now, format!("250-mx.example\r\n{hello}250 SIZE\r\n").as_bytes());
            while dialog.session.poll().is_some() {}
            dialog
        }

        fn says(&mut self, octets: &[u8]) -> Vec<Output> {
            self.session.feed(self.now, octets);
            std::iter::from_fn(|| self.session.poll()).collect()
        }

        fn told(&mut self, octets: &[u8]) -> u16 {
            match self.says(octets).as_slice() {
                [Output::Replied(reply)] => reply.code(),
                other => panic!("{other:?}"),
            }
        }

        fn fails(&mut self, octets: &[u8]) -> Failure {
            match self.says(octets).as_slice() {
                [Output::Close(Err(failure))] => failure.clone(),
                other => panic!("{other:?}"),
            }
        }

        fn written(&mut self) -> String {
            String::from_utf8(std::mem::take(&mut self.out)).unwrap()
        }

        fn auth(&mut self, verb: Verb, mechanism: Mechanism) -> Result<(), NotHandedOn> {
            let initial = Secret::new(b"first".to_vec());
            self.session.hand_on_auth(self.now, verb, mechanism, Some(&initial), &mut self.out)
        }

        fn extension(&mut self, extension: &Extension) -> Result<(), NotHandedOn> {
            self.session.hand_on_extension(self.now, extension, &mut self.out)
        }

        fn blob(&mut self, octets: &[u8]) {
            self.session.hand_on_blob(self.now, octets, &mut self.out);
        }
    }

    const fn exch50(octets: u64) -> Extension {
        Extension::Exch50(Exch50 { octets, kind: Some(2) })
    }

    #[test]
    fn a_login_is_handed_on_step_by_step_and_nothing_else_meanwhile() {
        let mut dialog = Dialog::with("AUTH LOGIN\nX-EXPS GSSAPI NTLM\nXEXCH50");
        assert_eq!(
            dialog.auth(Verb::Auth, Mechanism::Gssapi),
            Err(NotHandedOn::Unsuited(Unsuited::Mechanism)),
            "by X-EXPS alone"
        );
        dialog.auth(Verb::XExps, Mechanism::Gssapi).unwrap();
        assert_eq!(dialog.written(), "X-EXPS GSSAPI Zmlyc3Q=\r\n");
        let challenge = [b"334 ".as_slice(), &b"QUJD".repeat(2_500), b"\r\n"].concat();
        assert_eq!(dialog.told(&challenge), 334);
        assert!(dialog.auth(Verb::Auth, Mechanism::Login).is_err());
        assert!(dialog.extension(&exch50(1)).is_err());
        dialog.session.hand_on_response(dialog.now, &Secret::new(b"x".to_vec()), &mut dialog.out).unwrap();
        assert_eq!(dialog.written(), "eA==\r\n");
        assert_eq!(dialog.told(b"535 5.7.3 no\r\n"), 535);
        // Nothing is left of the first attempt.
        assert!(
            dialog.session.hand_on_response(dialog.now, &Secret::new(Vec::new()), &mut dialog.out).is_err()
        );
        dialog.auth(Verb::Auth, Mechanism::Login).unwrap();
        assert_eq!(dialog.told(b"334 \r\n"), 334);
        dialog.session.hand_on_cancel(dialog.now, &mut dialog.out).unwrap();
        assert_eq!(dialog.written(), "AUTH LOGIN Zmlyc3Q=\r\n*\r\n");
        assert_eq!(dialog.told(b"501 5.7.3 cancelled\r\n"), 501);
        assert!(dialog.session.is_resting());
    }

    #[test]
    fn a_reply_that_nobody_has_asked_for_ends_a_login() {
        let mut dialog = Dialog::with("AUTH LOGIN");
        dialog.auth(Verb::Auth, Mechanism::Login).unwrap();
        assert_eq!(dialog.told(b"334 \r\n"), 334);
        assert_eq!(dialog.fails(b"235 2.7.0 already\r\n"), Failure::Unsolicited(Stage::Auth));
        let mut dialog = Dialog::with("AUTH LOGIN");
        dialog.auth(Verb::Auth, Mechanism::Login).unwrap();
        let outputs = dialog.says(b"334 \r\n235 2.7.0 already\r\n");
        assert!(matches!(outputs.last(), Some(Output::Close(Err(Failure::Unsolicited(_))))), "{outputs:?}");
    }

    #[test]
    fn a_blob_is_counted_and_its_reply_told_at_its_end() {
        let mut dialog = Dialog::with("XEXCH50");
        dialog.extension(&exch50(5)).unwrap();
        assert_eq!(dialog.told(b"354 send\r\n"), 354);
        dialog.blob(b"\r\n.");
        assert_eq!(dialog.session.deadline(), None, "its pace is that of whoever sends it");
        dialog.blob(b"\r\n");
        assert_eq!(dialog.written(), "XEXCH50 5 2\r\n\r\n.\r\n");
        assert_eq!(dialog.told(b"250 ok\r\n"), 250);
        assert!(dialog.session.is_resting());
        dialog.extension(&exch50(0)).unwrap();
        assert_eq!(dialog.told(b"354 send\r\n"), 354);
        assert_eq!(dialog.told(b"550 no\r\n"), 550);
        dialog.extension(&exch50(1)).unwrap();
        assert_eq!(dialog.told(b"504 no\r\n"), 504);
        assert!(dialog.session.is_resting());
    }

    #[test]
    fn a_blob_that_is_refused_midway_goes_on_to_its_end() {
        let mut dialog = Dialog::with("XEXCH50");
        dialog.extension(&exch50(4)).unwrap();
        assert_eq!(dialog.told(b"354 send\r\n"), 354);
        dialog.blob(b"ab");
        assert_eq!(dialog.says(b"550 5.7.1 no\r\n"), []);
        assert!(dialog.extension(&exch50(1)).is_err());
        dialog.blob(b"cd");
        assert!(matches!(dialog.session.poll(), Some(Output::Replied(reply)) if reply.code() == 550));
        assert!(dialog.session.is_resting());
        dialog.extension(&exch50(1)).unwrap();
    }

    #[test]
    fn a_blob_that_is_accepted_before_its_end_was_not_understood() {
        for early in [b"250 ok\r\n".as_slice(), b"550 no\r\n550 no\r\n"] {
            let mut dialog = Dialog::with("XEXCH50");
            dialog.extension(&exch50(4)).unwrap();
            assert_eq!(dialog.told(b"354 send\r\n"), 354);
            assert!(matches!(dialog.fails(early), Failure::Unsolicited(Stage::Blob)));
        }
        let mut dialog = Dialog::with("XEXCH50");
        dialog.extension(&exch50(4)).unwrap();
        assert!(matches!(dialog.fails(b"250 ok\r\n"), Failure::Unexpected { .. }));
    }

    #[test]
    fn the_reply_to_an_empty_blob_may_come_with_its_354() {
        let mut dialog = Dialog::with("XEXCH50");
        dialog.extension(&exch50(0)).unwrap();
        let told = dialog.says(b"354 send\r\n250 ok\r\n");
        assert!(matches!(told.as_slice(), [Output::Replied(_), Output::Replied(_)]), "{told:?}");
        assert!(dialog.session.is_resting());
        assert!(matches!(dialog.fails(b"250 again\r\n"), Failure::Unsolicited(Stage::Idle)));
    }

    #[test]
    fn only_what_the_server_offers_is_handed_on() {
        let Ok(Command::Line { verb, argument }) = Command::parse(b"XOORG org") else { panic!("a line") };
        let line = Extension::Line { verb, argument };
        let mut dialog = Dialog::with("XEXCH50");
        assert_eq!(dialog.extension(&line), Err(NotHandedOn::Unsuited(Unsuited::Verb)));
        assert_eq!(dialog.written(), "");
        let mut dialog = Dialog::with("XOORG");
        dialog.extension(&line).unwrap();
        assert_eq!(dialog.written(), "XOORG org\r\n");
        assert_eq!(dialog.told(b"250 ok\r\n"), 250);
    }
}
