//! From a line to the state that takes it. The order of all checks on a command is `on_command`.

use super::budget::Spend;
use super::contract::Extension;
use super::precedence::Asked;
use super::session::{Session, State};
use super::verb_table;
use super::{BodySink, Evidence, Notice, Refusal};
use crate::wire::command::{Command, SyntaxError, quirk_space_after_colon};
use crate::wire::limits;
use crate::wire::line::LineStep;
use crate::wire::reply::Reply;
use crate::wire::verb::Verb;

// === impl Session ===

impl Session {
    /// Takes one line at most.
    pub(super) fn feed_line(&mut self, octets: &[u8], body: &mut dyn BodySink) -> usize {
        let is_response = matches!(self.state, State::AuthResponse(_));
        let limit = |line: &[u8]| match is_response {
            true => limits::AUTH_LINE_OCTETS,
            false => verb_table::line_octets_max(Verb::split(line).0),
        };
        let (taken, step) = self.reader.read(octets, limit);
        if self.reader.take_normalised() {
            self.outputs.notice(Notice::BARE_LF);
        }
        self.on_step(step, taken < octets.len(), body);
        taken
    }

    /// A line, or what came instead.
    pub(super) fn on_step(&mut self, step: LineStep<'_>, is_followed: bool, body: &mut dyn BodySink) {
        let drain_octets = self.config.limits.drain_octets;
        match step {
            // First, however the line ends: the same octets in one piece must hear the same.
            LineStep::Partial | LineStep::Fault(_) if self.reader.refused_octets() > drain_octets => {
                self.refuse(Refusal::DrainLimit);
            }
            LineStep::Overlong { octets, .. } if octets > drain_octets => self.refuse(Refusal::DrainLimit),
            LineStep::Partial => {}
            LineStep::Line(line) if matches!(self.state, State::AuthResponse(_)) => self.on_response(&line),
            LineStep::Line(line) => self.on_line(&line, is_followed, body),
            LineStep::Overlong { octets, start } => self.on_overlong_line(octets, &start),
            LineStep::Fault(fault) => self.refuse(Refusal::CommandFraming(fault)),
        }
    }

    /// A command, and with a refusal of it the words that were refused.
    fn on_line(&mut self, line: &[u8], is_followed: bool, body: &mut dyn BodySink) {
        let mark = self.outputs.mark();
        self.on_command(line, is_followed, body);
        let may_be_secret = self.has_tried_auth;
        self.outputs.add_evidence(mark, || Evidence::of_command(line, may_be_secret));
    }

    /// The order of all checks on a command: its verb, the right to it and its place in the dialog, and only then its
    /// argument. BDAT alone is read first, because the octets behind it must be skipped even where it is refused.
    fn on_command(&mut self, line: &[u8], is_followed: bool, body: &mut dyn BodySink) {
        let (verb, argument) = Verb::split(line);
        self.begin_command(verb);
        if self.budget.spend_command(&self.config.limits) == Spend::Spent {
            return self.refuse(Refusal::BudgetSpent);
        }
        if verb == Verb::Bdat {
            return self.on_bdat(argument, body);
        }
        if self.is_attack(verb) {
            self.tell_attack(verb, Evidence::of_command(line, self.has_tried_auth));
        }
        if let Err(refusal) = self.permit(Asked { verb, is_followed }) {
            return self.refuse(refusal);
        }
        match self.parse_argument(verb, argument) {
            Ok(command) => self.execute(command, is_followed),
            Err(error) => self.refuse(Refusal::Syntax(error)),
        }
    }

    fn parse_argument(&mut self, verb: Verb, argument: &[u8]) -> Result<Command, SyntaxError> {
        if self.peer.quirks.space_after_colon
            && let Some(argument) = quirk_space_after_colon(verb, argument)
        {
            self.outputs.notice(Notice::SPACE_AFTER_COLON);
            return Command::parse_argument(verb, &argument);
        }
        Command::parse_argument(verb, argument)
    }

    fn execute(&mut self, command: Command, is_followed: bool) {
        match command {
            Command::Ehlo(name) => self.on_ehlo(name),
            Command::Helo(name) => self.on_helo(name),
            Command::StartTls => self.on_starttls(),
            Command::Auth { mechanism, initial_response } => self.on_auth(&mechanism, initial_response),
            Command::Mail { reverse_path, params } => self.on_mail(reverse_path, params),
            Command::Rcpt { forward_path, params } => self.on_rcpt(forward_path, params),
            Command::Data => self.on_data(),
            Command::Rset => self.on_rset(),
            Command::XExps { mechanism, initial_response } => self.on_auth(&mechanism, initial_response),
            Command::Xexch50(exch50) => self.on_exch50(exch50, is_followed),
            Command::XLink2State(chunk) => self.on_link_state(chunk),
            Command::Xclient(xclient) => self.on_xclient(xclient),
            Command::Line { verb, argument } => self.on_extension(Extension::Line { verb, argument }),
            Command::Noop(_) => self.reply(&Reply::fixed(250, 0, 0, "OK")),
            Command::Quit => self.on_quit(),
            // Says neither yes nor no, so that nobody can harvest addresses (RFC 5321 section 7.3).
            Command::Vrfy(_) => self.reply(&Reply::fixed(252, 0, 0, "Cannot verify, but send some mail")),
            Command::Help(_) => self.reply(&Reply::fixed(214, 0, 0, "See RFC 5321")),
            // `permit` and `on_bdat` have dealt with these.
            Command::Bdat(_) | Command::Unknown { .. } => self.refuse(Refusal::UnknownVerb),
        }
    }

    fn on_overlong_line(&mut self, octets: u64, start: &[u8]) {
        if octets > self.config.limits.drain_octets {
            return self.refuse(Refusal::DrainLimit);
        }
        if matches!(self.state, State::AuthResponse(_)) {
            return self.break_off_authentication(Refusal::AuthLineTooLong);
        }
        let (verb, _) = Verb::split(start);
        self.begin_command(verb);
        if self.is_attack(verb) {
            self.tell_attack(verb, Evidence::of(verb.name().as_bytes()));
        }
        self.refuse(match verb {
            Verb::Bdat => Refusal::ChunkSyntax,
            Verb::Http => Refusal::ForeignProtocol,
            _ => Refusal::LineTooLong,
        });
    }

    fn tell_attack(&mut self, verb: Verb, evidence: Evidence) {
        let rule = match verb {
            Verb::Forbidden(_) => Refusal::ForbiddenVerb.rule(),
            Verb::Http => Refusal::ForeignProtocol.rule(),
            _ => Refusal::ExtensionDenied.rule(),
        };
        self.outputs.notice(Notice::Attack { rule, verb: verb.name(), class: self.class(), evidence });
    }

    fn begin_command(&mut self, verb: Verb) {
        self.verb = verb;
        self.has_tried_auth |= verb.carries_secret();
        self.deadlines.arm_command(&self.config.limits);
    }
}
