//! The header firewall: fields that a server believes are taken out of mail from peers that have no right to set them.
//!
//! ```text
//! X-MS-Exchange-Organization-*     what Exchange believes of its own organisation
//! X-MS-Exchange-Forest-*           and of its own forest
//! X-Gatepost-*                     our own stamps
//! Authentication-Results           where it speaks in our name (RFC 8601 section 5)
//! Return-Path                      the final delivery writes it (RFC 5321 section 4.4)
//! Received, Resent-*               which way it came, from peers that are not believed even that
//! ```
//! It works on the octets as they arrive, however they are split. What stays is passed on as the slices that came; only
//! the beginning of a name, or of an `Authentication-Results:` whose speaker is not known yet, is held for a moment.

use std::fmt;
use std::sync::Arc;

use super::authserv::{Speaker, speaker};

/// Which fields a peer may set. Nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trust {
    /// Those of the organisation, ours among them.
    pub organization: bool,
    /// Those of the forest.
    pub forest: bool,
    /// Those of routing: every class may, unless the operator says otherwise.
    pub routing: bool,
}

/// How many fields were taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stripped([u32; RULES.len()]);

/// The header section is larger than `HEADER_OCTETS_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header section is larger than {HEADER_OCTETS_MAX} octets")]
pub struct Overflow;

/// Stands before the place where a body is kept. One a mail.
#[derive(Debug)]
pub struct HeaderFirewall {
    hostname: Arc<str>,
    trust: Trust,
    state: State,
    /// Octets that are not decided yet.
    held: Vec<u8>,
    /// Of the header section.
    octets: usize,
    stripped: Stripped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a line, behind a field with that fate; `held` has what there is of a name.
    LineStart(Fate),
    /// Further on in a line.
    Line(Fate),
    /// In an `Authentication-Results:` that is held.
    Results,
    /// At the beginning of a line behind it, which may go on with it.
    ResultsLineStart,
    /// Behind the empty line: octets are passed on unseen.
    Body,
    /// The section is too large: nothing is passed on any more.
    Overflown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Strip,
}

/// A name, or the beginning of names, that is looked for.
#[derive(Debug, Clone, Copy)]
struct Rule {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Organization,
    Forest,
    /// Of routing, and what begins with it.
    Resent,
    Results,
    /// The name alone, not what begins with it.
    Exact,
    /// Of routing, and the name alone.
    Received,
}

/// What the octets at the beginning of a line are.
enum Start {
    /// Too few to tell.
    Undecided,
    /// White space: the field before goes on.
    Continuation,
    /// CR LF: the section ends.
    End,
    Keep,
    Strip(usize),
    Results,
}

// === impl HeaderFirewall ===

impl HeaderFirewall {
    /// For one mail from a peer with that much trust. `hostname` is the name that we speak under in
    /// `Authentication-Results:`.
    #[must_use]
    pub const fn new(hostname: Arc<str>, trust: Trust) -> Self {
        let state = State::LineStart(Fate::Keep);
        Self { hostname, trust, state, held: Vec::new(), octets: 0, stripped: Stripped([0; RULES.len()]) }
    }

    /// Takes the next octets of the mail and passes on what stays.
    pub fn put(&mut self, octets: &[u8], out: &mut dyn FnMut(&[u8])) {
        let mut rest = octets;
        while !rest.is_empty() {
            let taken = match self.state {
                State::Body => return out(rest),
                State::Overflown => return,
                State::LineStart(fate) => self.line_start(rest, fate, out),
                State::Line(fate) => self.line(rest, fate, out),
                State::Results => self.results(rest, out),
                State::ResultsLineStart => self.results_line_start(rest, out),
            };
            self.octets = self.octets.saturating_add(taken);
            if self.octets > HEADER_OCTETS_MAX && self.state != State::Body {
                self.state = State::Overflown;
                self.held = Vec::new();
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// The mail is whole: passes on what was held, and tells what was taken out.
    ///
    /// # Errors
    /// The section was too large, and not all of it was passed on.
    pub fn finish(&mut self, out: &mut dyn FnMut(&[u8])) -> Result<Stripped, Overflow> {
        match self.state {
            State::Overflown => return Err(Overflow),
            State::Results | State::ResultsLineStart => {
                let _ = self.end_results(out);
            }
            State::LineStart(_) | State::Line(_) | State::Body => out(&std::mem::take(&mut self.held)),
        }
        Ok(self.stripped)
    }

    fn line_start(&mut self, rest: &[u8], fate: Fate, out: &mut dyn FnMut(&[u8])) -> usize {
        if self.held.is_empty() {
            return match self.classify(rest) {
                Start::Undecided => {
                    self.held.extend_from_slice(rest);
                    rest.len()
                }
                Start::End => {
                    out(END);
                    self.state = State::Body;
                    END.len()
                }
                start => {
                    self.state = self.state_behind(&start, fate);
                    0
                }
            };
        }
        self.held.extend(rest.first());
        match self.classify(&self.held) {
            Start::Undecided => {}
            Start::End => {
                out(END);
                self.held = Vec::new();
                self.state = State::Body;
            }
            start => {
                self.state = self.state_behind(&start, fate);
                let held = std::mem::take(&mut self.held);
                // Of a line feed there is one at most, the last octet.
                let _ = match self.state {
                    State::Line(fate) => self.line(&held, fate, out),
                    _ => self.results(&held, out),
                };
            }
        }
        1
    }

    fn state_behind(&mut self, start: &Start, fate: Fate) -> State {
        match start {
            Start::Continuation => State::Line(fate),
            Start::Strip(rule) => {
                self.stripped.count(*rule);
                State::Line(Fate::Strip)
            }
            Start::Results => State::Results,
            Start::Keep | Start::Undecided | Start::End => State::Line(Fate::Keep),
        }
    }

    /// To the end of the line.
    fn line(&mut self, rest: &[u8], fate: Fate, out: &mut dyn FnMut(&[u8])) -> usize {
        let end = memchr::memchr(b'\n', rest);
        let taken = end.map_or(rest.len(), |end| end.saturating_add(1));
        if fate == Fate::Keep {
            out(rest.get(..taken).unwrap_or_default());
        }
        self.state = if end.is_some() { State::LineStart(fate) } else { State::Line(fate) };
        taken
    }

    /// To the end of the line, or as far as it takes to know who speaks.
    fn results(&mut self, rest: &[u8], out: &mut dyn FnMut(&[u8])) -> usize {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end.saturating_add(1));
        let taken = end.min(RESULTS_OCTETS_HELD_MAX.saturating_sub(self.held.len()).max(1));
        self.held.extend_from_slice(rest.get(..taken).unwrap_or_default());
        let is_full = self.held.len() >= RESULTS_OCTETS_HELD_MAX;
        let ends_line = self.held.ends_with(b"\n");
        match self.speaker(is_full) {
            Speaker::Undecided if ends_line => self.state = State::ResultsLineStart,
            Speaker::Undecided => self.state = State::Results,
            speaker => {
                let fate = self.settle_results(speaker, out);
                self.state = if ends_line { State::LineStart(fate) } else { State::Line(fate) };
            }
        }
        taken
    }

    fn results_line_start(&mut self, rest: &[u8], out: &mut dyn FnMut(&[u8])) -> usize {
        self.state = match rest.first() {
            Some(b' ' | b'\t') => State::Results,
            _ => State::LineStart(self.end_results(out)),
        };
        0
    }

    /// The field is over.
    fn end_results(&mut self, out: &mut dyn FnMut(&[u8])) -> Fate {
        let speaker = self.speaker(true);
        self.settle_results(speaker, out)
    }

    fn settle_results(&mut self, speaker: Speaker, out: &mut dyn FnMut(&[u8])) -> Fate {
        let held = std::mem::take(&mut self.held);
        if speaker == Speaker::Other {
            out(&held);
            return Fate::Keep;
        }
        let rule = RULES.iter().position(|rule| rule.kind == Kind::Results);
        self.stripped.count(rule.unwrap_or_default());
        Fate::Strip
    }

    fn speaker(&self, is_whole: bool) -> Speaker {
        let value =
            memchr::memchr(b':', &self.held).and_then(|colon| self.held.get(colon.saturating_add(1)..));
        match value {
            Some(value) => speaker(value, &self.hostname, is_whole),
            None if is_whole => Speaker::Ours,
            None => Speaker::Undecided,
        }
    }

    fn classify(&self, line: &[u8]) -> Start {
        match line {
            [b' ' | b'\t', ..] => return Start::Continuation,
            [b'\r'] => return Start::Undecided,
            [b'\r', b'\n', ..] => return Start::End,
            _ => {}
        }
        let mut is_open = false;
        for (index, rule) in RULES.iter().enumerate() {
            let (line, name) = (line, rule.name.as_bytes());
            if self.trust.covers(rule.kind) {
                continue;
            }
            let length = line.len().min(name.len());
            let is_same =
                line.get(..length).zip(name.get(..length)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
            match (is_same, line.get(name.len()), rule.kind) {
                (false, ..) => {}
                (true, None, Kind::Organization | Kind::Forest | Kind::Resent)
                    if line.len() == name.len() =>
                {
                    return Start::Strip(index);
                }
                (true, None, _) => is_open = true,
                (true, Some(_), Kind::Organization | Kind::Forest | Kind::Resent) => {
                    return Start::Strip(index);
                }
                // White space may stand before the colon (RFC 5322 section 4.5), and some read a folded line there.
                (true, Some(b':' | b' ' | b'\t' | b'\r' | b'\n'), Kind::Exact | Kind::Received) => {
                    return Start::Strip(index);
                }
                (true, Some(b':' | b' ' | b'\t' | b'\r' | b'\n'), Kind::Results) => return Start::Results,
                (true, Some(_), Kind::Exact | Kind::Received | Kind::Results) => {}
            }
        }
        if is_open { Start::Undecided } else { Start::Keep }
    }
}

// === impl Trust ===

impl Trust {
    const fn covers(self, kind: Kind) -> bool {
        match kind {
            Kind::Forest => self.forest,
            Kind::Resent | Kind::Received => self.routing,
            Kind::Organization | Kind::Results | Kind::Exact => self.organization,
        }
    }
}

// === impl Stripped ===

impl Stripped {
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Each rule's name and how many fields it took.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u32)> {
        RULES.iter().zip(self.0).filter(|(_, count)| *count > 0).map(|(rule, count)| (rule.name, count))
    }

    fn count(&mut self, rule: usize) {
        if let Some(count) = self.0.get_mut(rule) {
            *count = count.saturating_add(1);
        }
    }
}

/// `Return-Path 1, X-Gatepost- 2`.
impl fmt::Display for Stripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.counts().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {count}")?;
        }
        Ok(())
    }
}

/// Every name, for the labels of a metric.
pub fn rules() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.name)
}

const RULES: [Rule; 7] = [
    Rule { name: "X-MS-Exchange-Organization-", kind: Kind::Organization },
    Rule { name: "X-MS-Exchange-Forest-", kind: Kind::Forest },
    Rule { name: "X-Gatepost-", kind: Kind::Organization },
    Rule { name: "Authentication-Results", kind: Kind::Results },
    Rule { name: "Return-Path", kind: Kind::Exact },
    Rule { name: "Received", kind: Kind::Received },
    Rule { name: "Resent-", kind: Kind::Resent },
];
const END: &[u8] = b"\r\n";
/// Many times what mail has (a long list of recipients is some 100 KiB), and little enough to be read through for every
/// mail. A larger section is refused, since what stood behind the limit would pass unseen.
pub const HEADER_OCTETS_MAX: usize = 1024 * 1024;
/// Of one `Authentication-Results:`: names have 255 octets. One that hides its speaker behind more comment is stripped.
const RESULTS_OCTETS_HELD_MAX: usize = 1024;

#[cfg(test)]
mod tests;
