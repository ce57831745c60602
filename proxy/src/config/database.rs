//! `[[database]]`: what a mailbox database does otherwise than `[scan]` says.

use std::collections::HashSet;
use std::time::Duration;

use gatepost_core::background;
use gatepost_core::delivery::Warnings;
use gatepost_core::scan::InfectedAction;
use serde::Deserialize;
use toml::Spanned;

use super::background::{Age, WrittenBackground};
use super::infected::{WrittenActions, WrittenInMailbox, WrittenInfected, WrittenRewrite};
use super::problem::Finding;
use super::warnings::{WrittenWarnings, default_warnings};

/// How the mail of a mailbox database is scanned, and what becomes of what is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// What becomes of infected mail in the queue that is for its mailboxes.
    pub infected: InfectedAction,
    /// What becomes of what is found in its mailboxes; `None`: it stays, and no reader gets it.
    pub infected_in_mailbox: Option<InfectedAction>,
    /// Which of its people hear of infected mail.
    pub warnings: Warnings,
    /// Whether what goes into its mailboxes without a current stamp is scanned behind its delivery. `ProactiveScanning`.
    pub proactive: bool,
    /// What is older, and was found clean by whichever signatures, is shown without another scan; `None`: nothing is too old.
    /// `OnAccessScanningRollingLowerAgeLimit`.
    pub on_access_age_max: Option<Duration>,
    /// How what lies in its mailboxes is scanned again.
    pub background: background::Settings,
}

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenDatabase {
    name: Spanned<String>,
    infected: Option<WrittenInfected>,
    infected_in_mailbox: Option<WrittenInMailbox>,
    deletion: Option<bool>,
    #[serde(default)]
    rewrite: WrittenRewrite,
    #[serde(default)]
    warnings: WrittenWarnings,
    proactive: Option<bool>,
    on_access_age_max: Option<Age>,
    #[serde(default)]
    background: WrittenBackground,
}

/// What `[scan]` and a database both can say.
#[derive(Debug, Default)]
pub(super) struct WrittenScan {
    pub(super) actions: WrittenActions,
    pub(super) warnings: WrittenWarnings,
    pub(super) proactive: Option<bool>,
    pub(super) on_access_age_max: Option<Age>,
    pub(super) background: WrittenBackground,
}

/// The name of the database that has all mailboxes: `store/default.sqlite`.
pub const DATABASE: &str = "default";

/// The database, with what was written of it above what was written for the server.
pub(super) fn database(
    written: Vec<Spanned<WrittenDatabase>>,
    server: &WrittenScan,
    findings: &mut Vec<Finding>,
) -> Database {
    let mut names = HashSet::new();
    let mut database = server.check(findings);
    for written in written.into_iter().map(Spanned::into_inner) {
        let (name, span) = (written.name.get_ref().clone(), written.name.span());
        if name != DATABASE {
            let finding = Finding::at(span, format!("there is no mailbox database {name:?}"));
            findings.push(finding.hint(format!("there is: {DATABASE}")));
        } else if !names.insert(name) {
            findings.push(Finding::at(span, "two databases have this name"));
        }
        if let Some(span) = written.warnings.per_hour_span() {
            findings.push(
                Finding::at(span, "warnings are counted all together").hint("say it in [scan.warnings]"),
            );
        }
        database = written.scan().over(server).check(findings);
    }
    database
}

// === impl Database ===

impl Default for Database {
    fn default() -> Self {
        Self {
            infected: InfectedAction::default(),
            infected_in_mailbox: None,
            warnings: default_warnings(),
            proactive: true,
            on_access_age_max: None,
            background: background::Settings::default(),
        }
    }
}

// === impl WrittenDatabase ===

impl WrittenDatabase {
    fn scan(self) -> WrittenScan {
        let Self { infected, infected_in_mailbox, deletion, rewrite, .. } = self;
        WrittenScan {
            actions: WrittenActions { infected, infected_in_mailbox, deletion, rewrite },
            warnings: self.warnings,
            proactive: self.proactive,
            on_access_age_max: self.on_access_age_max,
            background: self.background,
        }
    }
}

// === impl WrittenScan ===

impl WrittenScan {
    /// What is left out here is as it is there.
    fn over(self, server: &Self) -> Self {
        Self {
            actions: self.actions.over(server.actions),
            warnings: self.warnings.over(&server.warnings),
            proactive: self.proactive.or(server.proactive),
            on_access_age_max: self.on_access_age_max.or(server.on_access_age_max),
            background: self.background.over(server.background),
        }
    }

    fn check(&self, findings: &mut Vec<Finding>) -> Database {
        let default = Database::default();
        Database {
            infected: self.actions.in_queue(),
            infected_in_mailbox: self.actions.in_mailbox(),
            warnings: self.warnings.check(findings),
            proactive: self.proactive.unwrap_or(default.proactive),
            on_access_age_max: self.on_access_age_max.map(|age| age.0),
            background: self.background.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gatepost_core::delivery::Template;
    use gatepost_core::scan::{Disposal, Rewriting};

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        let listener = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nprotocol = \"smtp\"\ntls = \"starttls\"\n";
        Config::parse(Path::new("g.toml"), &format!("{listener}{text}"))
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_database_does_as_the_server_but_for_what_it_says() {
        let server = "[scan]\ninfected = \"delete-part\"\nproactive = false\non_access_age_max = \"30d\"\n\
                      [scan.rewrite]\nkeep_original = false\n[scan.background]\nonly_attachments = true\n\
                      messages_per_second = 7\n[scan.warnings]\nsenders = true\nper_hour = 3\n";
        let config = parse(server).unwrap();
        assert_eq!(config.database.infected, config.scan.infected);
        assert!(!config.database.proactive && config.database.background.only_attachments);
        assert_eq!(parse(&format!("{server}[[database]]\nname = \"default\"\n")).unwrap(), config);

        let own = "[[database]]\nname = \"default\"\ndeletion = true\ninfected_in_mailbox = \"delete\"\n\
                   proactive = true\nbackground = { only_unscanned = true, messages_per_second = 0 }\n\
                   warnings = { recipients = true, recipient = { subject = \"s\", text = \"{threat}\" } }\n\
                   rewrite = { otherwise = \"delete\" }\n";
        let Config { scan, database, .. } = parse(&format!("{server}{own}")).unwrap();
        let rewriting = |keeps_original, otherwise| {
            InfectedAction::Rewrite(Rewriting { cleans: false, keeps_original, otherwise })
        };
        assert_eq!(scan.infected, rewriting(true, Disposal::Quarantine), "deletion is not switched on there");
        assert_eq!(database.infected, rewriting(false, Disposal::Delete));
        assert_eq!(database.infected_in_mailbox, Some(InfectedAction::Delete));
        assert!(database.proactive && database.on_access_age_max == config.database.on_access_age_max);
        let background = &database.background;
        assert!(background.only_unscanned && background.only_attachments);
        assert_eq!(background.messages_per_second, None);
        let warnings = &database.warnings;
        assert_eq!(warnings.recipient, Template::new("s", "{threat}").ok());
        assert!(warnings.sender.is_some() && warnings.per_hour == 3);
    }

    /// The switch of the server does not reach a database that says otherwise.
    #[test]
    fn a_database_can_forbid_deletion_that_the_server_allows() {
        let text = "[scan]\ninfected = \"delete\"\ndeletion = true\n[[database]]\nname = \"default\"\ndeletion = false\n";
        let Config { scan, database, .. } = parse(text).unwrap();
        assert_eq!((scan.infected, database.infected), (InfectedAction::Delete, InfectedAction::Quarantine));
    }

    #[test]
    fn what_no_database_can_say_is_refused_where_it_stands() {
        let refused = |text: &str| parse(text).unwrap_err();
        let unknown = refused("[[database]]\nname = \"archive\"\n");
        assert!(
            unknown.contains("g.toml:7:8: there is no mailbox database \"archive\"")
                && unknown.contains("default"),
            "{unknown}"
        );
        let twice = refused("[[database]]\nname = \"default\"\n[[database]]\nname = \"default\"\n");
        assert!(twice.contains("g.toml:9:8: two databases have this name"), "{twice}");
        let counted = refused("[[database]]\nname = \"default\"\nwarnings = { per_hour = 2 }\n");
        assert!(counted.contains("say it in [scan.warnings]"), "{counted}");
        for text in ["name = \"default\"\nengine = []\n", "infected = \"delete\"\n"] {
            assert!(parse(&format!("[[database]]\n{text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_text_of_the_server_is_told_once() {
        let wrong = "[scan.warnings.sender]\ntext = \"{nobody}\"\n[[database]]\nname = \"default\"\n";
        assert_eq!(parse(wrong).unwrap_err().matches("there is no {nobody}").count(), 1);
    }
}
