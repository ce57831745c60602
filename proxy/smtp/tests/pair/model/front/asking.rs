//! Questions as commands for the server behind, and its replies as answers.

use gatepost_smtp::client::hand_on::NotHandedOn;
use gatepost_smtp::client::{Capabilities, SizeOffer, Stage, Unsuited};
use gatepost_smtp::server::{Answer, Extension, Identity, PeerClass, Question, Refusal};
use gatepost_smtp::wire::auth::Secret;
use gatepost_smtp::wire::command::Command;
use gatepost_smtp::wire::params::{BodyKind, MailParams};
use gatepost_smtp::wire::reply_parse::{ReplyClass, ServerReply};

use super::super::behind::Sink;
use super::super::record::{Asked, Record};
use super::{Front, Link};

// === impl Front ===

impl Front {
    /// What it waits for, or its answer.
    pub(super) fn put_question(&mut self, question: Question) -> Result<Stage, Answer> {
        let (now, mut out) = (self.now, Vec::new());
        let offered = self.offered();
        let link = self.link.as_mut().filter(|link| link.ending.is_none());
        let Some(Link { session, .. }) = link else { return Err(self.lose()) };
        let (put, asked, stage) = match question {
            Question::Behind => return Err(Answer::Behind(offered)),
            Question::Mail { reverse_path, params } => {
                self.is_in_mail = true;
                let put = session.hand_on_mail(now, &reverse_path, &params, &mut out);
                let params = as_offered(params, &offered);
                (put, Asked::Command(Command::Mail { reverse_path, params }), Stage::Mail)
            }
            Question::Recipient { path, params } => {
                let put = session.hand_on_rcpt(now, &path, &params, &mut out);
                (put, Asked::Command(Command::Rcpt { forward_path: path, params }), Stage::Rcpt)
            }
            Question::Body { envelope } if envelope.params.body == BodyKind::BinaryMime => {
                self.goes_in_chunks = true;
                return Err(Answer::Accepted);
            }
            Question::Body { .. } => {
                let put = session.hand_on_data(now, &mut out).map_err(Into::into);
                (put, Asked::Command(Command::Data), Stage::Data)
            }
            Question::Commit if self.goes_in_chunks => {
                self.goes_in_chunks = false;
                let put = session.hand_on_chunk(now, &[], true, &mut out).map_err(Into::into);
                (put, Asked::Chunk(Vec::new(), true), Stage::EndOfData)
            }
            Question::Commit => {
                if session.hand_on_end(now, &mut out).is_err() {
                    return Err(self.lose());
                }
                note_end(&mut self.link);
                self.record(&out, Record::end_body);
                return Ok(Stage::EndOfData);
            }
            Question::Extension(extension) => {
                self.is_bound = true;
                self.has_series = true;
                let put = session.hand_on_extension(now, &extension, &mut out);
                (put, Asked::Command(command(extension)), Stage::Extension)
            }
            Question::ExtensionEnd => return Ok(Stage::Blob),
            Question::Authenticate { verb, mechanism, initial_response } => {
                self.is_bound = true;
                let put = session.hand_on_auth(now, verb, mechanism, initial_response.as_ref(), &mut out);
                let name = mechanism.name();
                let response =
                    initial_response.map_or_else(String::new, |it| format!(" {}", it.to_initial_response()));
                let line = format!("{} {name}{response}", verb.name());
                (put, Asked::Command(Command::parse(line.as_bytes()).unwrap()), Stage::Auth)
            }
            Question::AuthenticateContinue { response } => {
                let put = session.hand_on_response(now, &response, &mut out).map_err(Into::into);
                (put, Asked::Response(response.into_exposed()), Stage::Auth)
            }
            other => panic!("{other:?}"),
        };
        match put {
            Ok(()) => {
                self.writes(asked, &out);
                Ok(stage)
            }
            Err(NotHandedOn::Unsuited(Unsuited::TooLarge)) => Err(Answer::Refused(Refusal::MessageTooLarge)),
            Err(NotHandedOn::Unsuited(_)) => Err(Answer::Refused(Refusal::LessBehind)),
            Err(NotHandedOn::NotReady(_)) => Err(self.lose()),
        }
    }

    /// Octets of a body or a blob.
    pub(super) fn put(&mut self, sink: &Sink) {
        let Some(link) = self.link.as_mut().filter(|link| link.ending.is_none()) else { return };
        let mut out = Vec::new();
        if !sink.blob.is_empty() {
            link.session.hand_on_blob(self.now, &sink.blob, &mut out);
            self.record(&out, |record| record.blob(&sink.blob));
        } else if !sink.body.is_empty() && self.goes_in_chunks {
            if link.session.hand_on_chunk(self.now, &sink.body, false, &mut out).is_ok() {
                self.writes(Asked::Chunk(sink.body.clone(), false), &out);
            }
        } else if !sink.body.is_empty() {
            link.session.hand_on_body(&sink.body, &mut out);
            self.record(&out, |record| record.body(&sink.body));
        }
    }

    pub(super) fn writes(&mut self, asked: Asked, octets: &[u8]) {
        if matches!(asked, Asked::Chunk(_, true)) {
            note_end(&mut self.link);
        }
        self.record(octets, |record| record.asks(asked));
    }

    pub(super) fn record(&mut self, octets: &[u8], note: impl FnOnce(&mut Record)) {
        let record = self.records.last_mut().expect("a connection");
        note(record);
        record.writes(octets);
        self.written.extend_from_slice(octets);
    }

    /// A mail is taken by what the server has said behind its end, from its first octet on.
    pub(super) fn check_promise(&self, stage: Stage, said: &ServerReply) {
        let Some(link) = &self.link else { return };
        if stage == Stage::EndOfData && said.class() == ReplyClass::Positive {
            let code = said.code().to_string();
            let mut lines = link.heard[link.heard_before_end..].split(|octet| *octet == b'\n');
            assert!(lines.any(|line| line.starts_with(code.as_bytes())), "{}", link.heard.escape_ascii());
        }
    }

    pub(super) fn answer_of(&mut self, stage: Stage, said: ServerReply) -> Answer {
        self.is_in_mail &= stage != Stage::EndOfData;
        self.check_promise(stage, &said);
        match (stage, said.class()) {
            (Stage::Data | Stage::Extension | Stage::Blob, ReplyClass::Intermediate) => Answer::Accepted,
            (Stage::Auth, ReplyClass::Positive) => {
                let is_server = self.class == PeerClass::Server;
                let class = if is_server { PeerClass::Server } else { PeerClass::User };
                Answer::Authenticated { identity: Identity::relayed(class), final_data: None }
            }
            (Stage::Auth, ReplyClass::Intermediate) => match said.lines() {
                [line] if Secret::from_response(line.trim().as_bytes()).is_ok() => {
                    let challenge = Secret::from_response(line.trim().as_bytes()).unwrap();
                    Answer::Challenge(challenge.into_exposed())
                }
                _ => self.lose(),
            },
            (Stage::Auth, _) if !self.has_series => {
                self.link = None;
                self.is_bound = false;
                Answer::Said(said)
            }
            _ => Answer::Said(said),
        }
    }
}

/// What is heard from now on is about a whole body.
fn note_end(link: &mut Option<Link>) {
    if let Some(link) = link {
        link.heard_before_end = link.heard.len();
    }
}

/// What only speaks of the mail is left out where the server does not know it.
fn as_offered(params: MailParams, offered: &Capabilities) -> MailParams {
    let size = params.size.filter(|_| offered.size != SizeOffer::None);
    let auth = params.auth.clone().filter(|_| offered.auth);
    MailParams { size, auth, ..params }
}

fn command(extension: Extension) -> Command {
    match extension {
        Extension::Exch50(exch50) => Command::Xexch50(exch50),
        Extension::LinkState(chunk) => Command::XLink2State(chunk),
        Extension::Line { verb, argument } => Command::Line { verb, argument },
    }
}
