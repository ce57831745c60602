//! Which mails in quarantine a command is about.

use std::time::{Duration, SystemTime};

use super::super::arguments::{age, before, domain, parse_id, recipient, sender};
use super::super::{Exit, Failure};
use crate::control::kept::QuarantineFilter;

/// Filters; a mail must match all that are given.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Matching {
    /// These mails, by the queue ids that they had.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// From this address; `<>` is the sender of notifications.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Kept from this address.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Kept from somebody in this domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// In which this was found, as `list` names it.
    #[arg(long, value_name = "NAME")]
    threat: Option<String>,
    /// In quarantine for longer than this: 30m, 12h, 3d.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// In quarantine since this time.
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer_than: Option<Duration>,
    /// All mails.
    #[arg(long, conflicts_with_all = ["ids", "from", "to", "domain", "threat", "older_than", "newer_than"])]
    all: bool,
}

// === impl Matching ===

impl Matching {
    /// Without any: all mails.
    pub(super) fn filter(&self) -> Result<QuarantineFilter, Failure> {
        let now = SystemTime::now();
        Ok(QuarantineFilter {
            ids: self.ids.iter().map(|id| parse_id(id).map(|id| id.to_string())).collect::<Result<_, _>>()?,
            sender: self.from.as_deref().map(sender).transpose()?,
            recipient: self.to.as_deref().map(recipient).transpose()?,
            domain: self.domain.as_deref().map(domain).transpose()?,
            threat: self.threat.clone(),
            before_ms: self.older_than.map(|age| before(now, age)),
            since_ms: self.newer_than.map(|age| before(now, age)),
        })
    }

    /// All of them must be meant.
    pub(super) fn explicit_filter(&self) -> Result<QuarantineFilter, Failure> {
        let filter = self.filter()?;
        if filter == QuarantineFilter::default() && !self.all {
            let text = "which mails? Give ids, or --from, --to, --domain, --threat, --older-than, --newer-than, or --all";
            return Err(Failure::new(Exit::Usage, text));
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        matching: Matching,
    }

    fn matching(arguments: &[&str]) -> Matching {
        Line::try_parse_from(std::iter::once(&"x").chain(arguments)).unwrap().matching
    }

    #[test]
    fn filters_are_told_as_they_are_meant() {
        let filter = matching(&["1m829761e0000", "--threat", "Eicar.Test", "--from", "<>"]).filter().unwrap();
        assert_eq!(filter.ids, ["1M829761E0000"]);
        assert_eq!((filter.threat.as_deref(), filter.sender.as_deref()), (Some("Eicar.Test"), Some("")));
    }

    #[test]
    fn everything_has_to_be_said() {
        assert!(matching(&[]).explicit_filter().is_err());
        assert_eq!(matching(&["--all"]).explicit_filter().unwrap(), QuarantineFilter::default());
        assert!(Line::try_parse_from(["x", "--all", "--threat", "a"]).is_err());
        assert!(matching(&["--from", "me"]).filter().is_err());
    }
}
