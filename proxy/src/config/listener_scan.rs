//! `scan` of a `[[listener]]`: how the sessions of a listener have mail scanned.

use gatepost_core::scan::FailMode;
use serde::Deserialize;
use toml::Spanned;

use super::problem::Finding;
use super::values::TimeSpan;
use super::{Scan, file};

/// How the sessions of one listener have mail scanned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerScan {
    /// Whether a session waits for a verdict; `None`: as `[scan]` says.
    pub in_session: Option<bool>,
    /// How long it waits; `None`: as `[scan]` says.
    pub session_budget: Option<TimeSpan>,
    /// What becomes of mail that no scan can vouch for in time. Never `Closed` without a scan in the session.
    pub fail: FailMode,
    /// What becomes of infected mail; `None`: as `refuse_infected` of `[scan]` says. Never `Quarantine` without a scan in the
    /// session.
    pub infected: Option<SessionInfected>,
}

/// What becomes of mail that its session finds to be infected, or to hold what may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionInfected {
    /// It is refused.
    Refuse,
    /// It is answered as if it were taken, and kept in the quarantine alone.
    Quarantine,
    /// What is infected is taken, and the queue does with it what `infected` of `[scan]` says.
    Queue,
}

/// As it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenListenerScan {
    in_session: Option<bool>,
    session_budget: Option<TimeSpan>,
    fail: Option<Spanned<WrittenFailMode>>,
    infected: Option<Spanned<SessionInfected>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenFailMode {
    Open,
    Closed,
    Hold,
}

/// What is decided in the session needs a scan there.
pub(super) fn check_listener_scans(
    listeners: &[Spanned<file::Listener>],
    scan: &Scan,
    findings: &mut Vec<Finding>,
) {
    for written in listeners.iter().filter_map(|listener| listener.get_ref().scan.as_ref()) {
        let written = written.get_ref();
        if written.in_session.unwrap_or(scan.in_session) {
            continue;
        }
        let fail = written.fail.as_ref().filter(|fail| *fail.get_ref() == WrittenFailMode::Closed);
        let infected = written.infected.as_ref().filter(|it| *it.get_ref() == SessionInfected::Quarantine);
        let needing = fail.map(Spanned::span).into_iter().chain(infected.map(Spanned::span));
        findings.extend(needing.map(|span| {
            Finding::at(span, "sessions of this listener have nothing scanned").hint("in_session = true")
        }));
    }
}

// === impl WrittenListenerScan ===

impl WrittenListenerScan {
    pub(super) fn resolve(&self) -> ListenerScan {
        ListenerScan {
            in_session: self.in_session,
            session_budget: self.session_budget,
            fail: self.fail.as_ref().map_or(FailMode::default(), |fail| (*fail.get_ref()).into()),
            infected: self.infected.as_ref().map(|infected| *infected.get_ref()),
        }
    }
}

// === impl WrittenFailMode ===

impl From<WrittenFailMode> for FailMode {
    fn from(written: WrittenFailMode) -> Self {
        match written {
            WrittenFailMode::Open => Self::Open,
            WrittenFailMode::Closed => Self::Closed,
            WrittenFailMode::Hold => Self::Hold,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(scan: &str, sections: &str) -> Result<ListenerScan, String> {
        let listener = "[[listener]]\nname = \"a\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\n";
        let text = format!("{listener}tls = \"starttls\"\n{scan}\n{sections}\n");
        let config = Config::parse(Path::new("g.toml"), &text).map_err(|problems| problems.to_string())?;
        Ok(config.listeners[0].scan)
    }

    #[test]
    fn what_is_not_written_holds_and_refuses() {
        let default = ListenerScan::default();
        assert_eq!((default.fail, default.infected), (FailMode::Hold, None));
        assert_eq!(parse("", "").unwrap(), default);
        let written = "scan = { in_session = true, session_budget = \"5s\", fail = \"open\", infected = \"quarantine\" }";
        let expected = ListenerScan {
            in_session: Some(true),
            session_budget: Some(TimeSpan::seconds(5)),
            fail: FailMode::Open,
            infected: Some(SessionInfected::Quarantine),
        };
        assert_eq!(parse(written, "[scan]\nin_session = false").unwrap(), expected);
    }

    #[test]
    fn what_is_decided_in_the_session_needs_a_scan_there() {
        for key in ["fail = \"closed\"", "infected = \"quarantine\""] {
            let complaint = "sessions of this listener have nothing scanned";
            let here = parse(&format!("scan = {{ in_session = false, {key} }}"), "").unwrap_err();
            assert!(here.contains(complaint), "{here}");
            let everywhere = parse(&format!("scan = {{ {key} }}"), "[scan]\nin_session = false").unwrap_err();
            assert!(everywhere.contains(complaint), "{everywhere}");
            assert!(parse(&format!("scan = {{ {key} }}"), "").is_ok());
        }
        assert!(parse("scan = { in_session = false, fail = \"open\" }", "").is_ok());
        assert!(parse("scan = { fail = \"ajar\" }", "").is_err());
    }

    #[test]
    fn readers_have_nothing_to_do_with_it() {
        let pop3 = "[[listener]]\nname = \"p\"\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\n";
        let refused =
            parse("", &format!("{pop3}tls = \"implicit\"\nscan = {{ fail = \"open\" }}")).unwrap_err();
        assert!(refused.contains("`scan` is a setting of SMTP listeners"), "{refused}");
    }
}
