//! `infected`, `deletion` and `[scan.rewrite]`: what becomes of mail in which something was found.

use gatepost_core::scan::{Disposal, InfectedAction, Rewriting};
use serde::Deserialize;

/// `infected`, as it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WrittenInfected {
    /// It goes into the quarantine.
    #[default]
    Quarantine,
    /// It is deleted, where deletion is switched on.
    Delete,
    /// A text takes the place of each infected part.
    DeletePart,
    /// Infected parts are cleaned; what cannot be is treated as by `DeletePart`.
    Clean,
}

/// `infected_in_mailbox`, as it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WrittenInMailbox {
    /// It stays, and no reader gets it.
    #[default]
    Withhold,
    /// As of `WrittenInfected`.
    Quarantine,
    /// As of `WrittenInfected`.
    Delete,
    /// As of `WrittenInfected`.
    DeletePart,
    /// As of `WrittenInfected`.
    Clean,
}

/// `[scan.rewrite]`, as it is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenRewrite {
    otherwise: Option<WrittenDisposal>,
    keep_original: Option<bool>,
}

/// All of it together, as it is written for the server or for a database.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WrittenActions {
    pub(super) infected: Option<WrittenInfected>,
    pub(super) infected_in_mailbox: Option<WrittenInMailbox>,
    pub(super) deletion: Option<bool>,
    pub(super) rewrite: WrittenRewrite,
}

/// What becomes of mail that cannot be rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenDisposal {
    Quarantine,
    Delete,
}

// === impl WrittenActions ===

impl WrittenActions {
    /// What is left out here is as it is there.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            infected: self.infected.or(base.infected),
            infected_in_mailbox: self.infected_in_mailbox.or(base.infected_in_mailbox),
            deletion: self.deletion.or(base.deletion),
            rewrite: WrittenRewrite {
                otherwise: self.rewrite.otherwise.or(base.rewrite.otherwise),
                keep_original: self.rewrite.keep_original.or(base.rewrite.keep_original),
            },
        }
    }

    /// Of mail in the queue.
    pub(super) fn in_queue(self) -> InfectedAction {
        self.infected.unwrap_or_default().action(self.rewrite, self.deletion.unwrap_or(false))
    }

    /// Of what lies in mailboxes; `None` where it stays as it is.
    pub(super) fn in_mailbox(self) -> Option<InfectedAction> {
        self.infected_in_mailbox.unwrap_or_default().action(self.rewrite, self.deletion.unwrap_or(false))
    }
}

// === impl WrittenInfected ===

impl WrittenInfected {
    /// What holds: nothing of a mail is lost for good without the switch for deletion.
    fn action(self, rewrite: WrittenRewrite, deletion: bool) -> InfectedAction {
        let rewriting = |cleans| {
            InfectedAction::Rewrite(Rewriting {
                cleans,
                keeps_original: rewrite.keep_original.unwrap_or(true),
                otherwise: match rewrite.otherwise {
                    Some(WrittenDisposal::Delete) => Disposal::Delete,
                    Some(WrittenDisposal::Quarantine) | None => Disposal::Quarantine,
                },
            })
        };
        let action = match self {
            Self::Quarantine => InfectedAction::Quarantine,
            Self::Delete => InfectedAction::Delete,
            Self::DeletePart => rewriting(false),
            Self::Clean => rewriting(true),
        };
        action.allowed(deletion)
    }
}

// === impl WrittenInMailbox ===

impl WrittenInMailbox {
    /// As of `WrittenInfected`; `None` where messages stay as they are.
    fn action(self, rewrite: WrittenRewrite, deletion: bool) -> Option<InfectedAction> {
        let as_in_queue = match self {
            Self::Withhold => return None,
            Self::Quarantine => WrittenInfected::Quarantine,
            Self::Delete => WrittenInfected::Delete,
            Self::DeletePart => WrittenInfected::DeletePart,
            Self::Clean => WrittenInfected::Clean,
        };
        Some(as_in_queue.action(rewrite, deletion))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn config(scan: &str) -> Config {
        let listener = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nprotocol = \"smtp\"\ntls = \"starttls\"\n";
        Config::parse(Path::new("test"), &format!("{listener}[scan]\n{scan}")).unwrap()
    }

    fn action(written: &str) -> InfectedAction {
        config(written).scan.infected
    }

    #[test]
    fn mailboxes_are_left_alone_unless_it_is_said() {
        let in_mailbox = |written| config(written).databases.default.infected_in_mailbox;
        assert_eq!(in_mailbox("infected = \"delete-part\""), None);
        let delete = in_mailbox("infected_in_mailbox = \"delete\"");
        assert_eq!(delete, Some(InfectedAction::Quarantine), "deletion is not switched on");
        let clean = in_mailbox("infected_in_mailbox = \"clean\"");
        assert!(matches!(clean, Some(InfectedAction::Rewrite(Rewriting { cleans: true, .. }))));
    }

    #[test]
    fn nothing_is_lost_for_good_unless_deletion_is_switched_on() {
        assert_eq!(action(""), InfectedAction::Quarantine);
        assert_eq!(action("infected = \"delete\""), InfectedAction::Quarantine);
        assert_eq!(action("infected = \"delete\"\ndeletion = true"), InfectedAction::Delete);
        let safe = Rewriting { cleans: false, keeps_original: true, otherwise: Disposal::Quarantine };
        let rewrite = "[scan.rewrite]\notherwise = \"delete\"\nkeep_original = false";
        assert_eq!(action("infected = \"delete-part\""), InfectedAction::Rewrite(safe));
        assert_eq!(action(&format!("infected = \"delete-part\"\n{rewrite}")), InfectedAction::Rewrite(safe));
        let lossy = Rewriting { cleans: true, keeps_original: false, otherwise: Disposal::Delete };
        let switched = format!("infected = \"clean\"\ndeletion = true\n{rewrite}");
        assert_eq!(action(&switched), InfectedAction::Rewrite(lossy));
    }
}
