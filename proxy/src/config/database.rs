//! `[[database]]`: which mailboxes a mailbox database has, and what it does otherwise than `[scan]` says.

use std::collections::HashSet;
use std::time::Duration;

use gatepost_core::background;
use gatepost_core::delivery::Warnings;
use gatepost_core::scan::InfectedAction;
use gatepost_core::store::DATABASE;
use serde::Deserialize;
use toml::Spanned;

use super::background::{Age, WrittenBackground};
use super::infected::{WrittenActions, WrittenInMailbox, WrittenInfected, WrittenRewrite};
use super::problem::Finding;
use super::values::{Hostname, is_plain_name};
use super::warnings::WrittenWarnings;

/// The mailbox databases. Names and domains are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases {
    /// The one that is always there, with all mailboxes that no other has: `default`.
    pub default: DatabaseScan,
    /// The others.
    pub others: Vec<Database>,
}

/// A mailbox database that has the mailboxes of some domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name, and that of its file.
    pub name: DatabaseName,
    /// Its domains, at least one; A-labels.
    pub domains: Vec<Hostname>,
    /// How its mail is scanned.
    pub scan: DatabaseScan,
}

/// The name of a database: a file's name and a log field, so short and plain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseName(String);

/// Not usable as one.
#[derive(Debug, thiserror::Error)]
#[error("not the name of a database (1 to {NAME_OCTETS_MAX} of a-z, 0-9 and -): {0:?}")]
pub struct InvalidDatabaseName(String);

/// How the mail of a mailbox database is scanned, and what becomes of what is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseScan {
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
    name: Spanned<DatabaseName>,
    #[serde(default)]
    domains: Vec<Spanned<Hostname>>,
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

/// All databases, with what was written of each above what was written for the server.
pub(super) fn databases(
    written: Vec<Spanned<WrittenDatabase>>,
    server: &WrittenScan,
    findings: &mut Vec<Finding>,
) -> Databases {
    let (mut names, mut taken) = (HashSet::new(), HashSet::new());
    let mut databases = Databases { default: server.check(findings), others: Vec::new() };
    for written in written.into_iter().map(Spanned::into_inner) {
        let (name, at) = (written.name.get_ref().clone(), written.name.span());
        for domain in &written.domains {
            if !taken.insert(domain.get_ref().as_str().to_ascii_lowercase()) {
                findings.push(Finding::at(domain.span(), "two databases have this domain"));
            }
        }
        if let Some(span) = written.warnings.per_hour_span() {
            let finding = Finding::at(span, "warnings are counted all together");
            findings.push(finding.hint("say it in [scan.warnings]"));
        }
        if !names.insert(name.clone()) {
            findings.push(Finding::at(at.clone(), "two databases have this name"));
        }
        let domains: Vec<Hostname> = written.domains.iter().map(|domain| domain.get_ref().clone()).collect();
        let scan = written.scan().over(server).check(findings);
        match (name.as_str() == DATABASE, domains.is_empty()) {
            (true, true) => databases.default = scan,
            (true, false) => {
                let finding = Finding::at(at, "this one has the mailboxes of every domain that no other has");
                findings.push(finding.hint("leave its domains out"));
            }
            (false, true) => {
                let finding = Finding::at(at, "a database without domains has no mailboxes");
                findings.push(finding.hint("domains = [\"example.org\"]"));
            }
            (false, false) => databases.others.push(Database { name, domains, scan }),
        }
    }
    databases
}

// === impl Databases ===

impl Databases {
    /// Each by its name, `default` first.
    pub fn scans(&self) -> impl Iterator<Item = (&str, &DatabaseScan)> {
        let others = self.others.iter().map(|database| (database.name.as_str(), &database.scan));
        [(DATABASE, &self.default)].into_iter().chain(others)
    }

    /// As these are, but with the mailboxes where they are in `running`.
    pub(super) fn laid_out_as(self, running: &Self) -> Self {
        let scan = |name: &DatabaseName| {
            let new = self.others.iter().find(|database| database.name == *name);
            new.map(|database| database.scan.clone())
        };
        let keep = |database: &Database| Database {
            scan: scan(&database.name).unwrap_or_else(|| database.scan.clone()),
            ..database.clone()
        };
        Self { others: running.others.iter().map(keep).collect(), default: self.default }
    }

    /// Whether mailboxes lie where they do in `other`.
    pub(super) fn is_laid_out_as(&self, other: &Self) -> bool {
        let layout = |databases: &Self| -> Vec<_> {
            let place = |database: &Database| (database.name.clone(), database.domains.clone());
            databases.others.iter().map(place).collect()
        };
        layout(self) == layout(other)
    }
}

// === impl DatabaseName ===

impl DatabaseName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DatabaseName {
    type Error = InvalidDatabaseName;

    fn try_from(text: String) -> Result<Self, InvalidDatabaseName> {
        if !is_plain_name(&text, NAME_OCTETS_MAX) {
            return Err(InvalidDatabaseName(text));
        }
        Ok(Self(text))
    }
}

// === impl DatabaseScan ===

impl Default for DatabaseScan {
    fn default() -> Self {
        Self {
            infected: InfectedAction::default(),
            infected_in_mailbox: None,
            warnings: Warnings::default(),
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

    fn check(&self, findings: &mut Vec<Finding>) -> DatabaseScan {
        let default = DatabaseScan::default();
        DatabaseScan {
            infected: self.actions.in_queue(),
            infected_in_mailbox: self.actions.in_mailbox(),
            warnings: self.warnings.check(findings),
            proactive: self.proactive.unwrap_or(default.proactive),
            on_access_age_max: self.on_access_age_max.map(|age| age.0),
            background: self.background.into(),
        }
    }
}

/// As of a listener.
const NAME_OCTETS_MAX: usize = 32;

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
        assert_eq!(config.databases.default.infected, config.scan.infected);
        assert_eq!(config.databases.default.background, config.scan.background, "queue and quarantine");
        assert!(!config.databases.default.proactive && config.databases.default.background.only_attachments);
        assert_eq!(parse(&format!("{server}[[database]]\nname = \"default\"\n")).unwrap(), config);

        let own = "[[database]]\nname = \"default\"\ndeletion = true\ninfected_in_mailbox = \"delete\"\n\
                   proactive = true\nbackground = { only_unscanned = true, messages_per_second = 0 }\n\
                   warnings = { recipients = true, recipient = { subject = \"s\", text = \"{threat}\" } }\n\
                   rewrite = { otherwise = \"delete\" }\n";
        let Config { scan, databases: Databases { default: database, .. }, .. } =
            parse(&format!("{server}{own}")).unwrap();
        let rewriting = |keeps_original, otherwise| {
            InfectedAction::Rewrite(Rewriting { cleans: false, keeps_original, otherwise })
        };
        assert_eq!(scan.infected, rewriting(true, Disposal::Quarantine), "deletion is not switched on there");
        assert_eq!(database.infected, rewriting(false, Disposal::Delete));
        assert_eq!(database.infected_in_mailbox, Some(InfectedAction::Delete));
        assert!(
            database.proactive && database.on_access_age_max == config.databases.default.on_access_age_max
        );
        assert!(!scan.background.only_unscanned);
        let background = &database.background;
        assert!(background.only_unscanned && background.only_attachments);
        assert_eq!(background.messages_per_second, None);
        let warnings = &database.warnings;
        assert_eq!(warnings.recipient, Template::new("s", "{threat}").ok());
        assert!(warnings.sender.is_some() && scan.warnings_per_hour == 3);
        assert_eq!(scan.warnings.recipient, None);
    }

    /// The switch of the server does not reach a database that says otherwise.
    #[test]
    fn a_database_can_forbid_deletion_that_the_server_allows() {
        let text = "[scan]\ninfected = \"delete\"\ndeletion = true\n[[database]]\nname = \"default\"\ndeletion = false\n";
        let Config { scan, databases, .. } = parse(text).unwrap();
        assert_eq!(
            (scan.infected, databases.default.infected),
            (InfectedAction::Delete, InfectedAction::Quarantine)
        );
    }

    #[test]
    fn what_no_database_can_say_is_refused_where_it_stands() {
        let refused = |text: &str| parse(text).unwrap_err();
        let bare = refused("[[database]]\nname = \"archive\"\n");
        assert!(bare.contains("g.toml:7:8: a database without domains has no mailboxes"), "{bare}");
        let all = refused("[[database]]\nname = \"default\"\ndomains = [\"a.example\"]\n");
        assert!(all.contains("leave its domains out"), "{all}");
        let twice = refused("[[database]]\nname = \"default\"\n[[database]]\nname = \"default\"\n");
        assert!(twice.contains("g.toml:9:8: two databases have this name"), "{twice}");
        let two = "[[database]]\nname = \"a\"\ndomains = [\"a.example\"]\n[[database]]\nname = \"b\"\n";
        let shared = refused(&format!("{two}domains = [\"b.example\", \"A.example\"]\n"));
        assert!(shared.contains("g.toml:11:25: two databases have this domain"), "{shared}");
        for name in ["", "../up", "Default", "a.b"] {
            let wrong = refused(&format!("[[database]]\nname = \"{name}\"\ndomains = [\"a.example\"]\n"));
            assert!(wrong.contains("not the name of a database"), "{wrong}");
        }
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

    /// Databases and domains are what they were; what is said of scans in those that stay holds.
    #[test]
    fn a_reload_leaves_mailboxes_where_they_are() {
        let database = |domain: &str, infected: &str| {
            let name = "[[database]]\nname = \"a\"\n";
            let text = format!("{name}domains = [\"{domain}\"]\ninfected = \"{infected}\"\n");
            parse(&text).unwrap()
        };
        let running = database("a.example", "quarantine");
        let reloaded = database("b.example", "delete-part").with_fixed_parts_of(&running);
        assert!(reloaded.databases.is_laid_out_as(&running.databases));
        let rewrites =
            |config: &Config| matches!(config.databases.others[0].scan.infected, InfectedAction::Rewrite(_));
        assert!(rewrites(&reloaded) && !rewrites(&running));
        let without = parse("[scan]\nproactive = false\n").unwrap().with_fixed_parts_of(&running);
        assert_eq!(without.databases.others, running.databases.others);
        assert!(!without.databases.default.proactive);
        let names: Vec<_> = without.databases.scans().map(|(name, _)| name).collect();
        assert_eq!(names, ["default", "a"]);
    }
}
