//! Which messages a command is about.

use std::time::{Duration, SystemTime};

use super::super::arguments::{age, before, domain, parse_id, recipient, sender};
use super::super::{Exit, Failure};
use crate::control::queued::{Filter, State};

/// Filters; a message must match all that are given.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Matching {
    /// These messages.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// This message; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    more_ids: Vec<String>,
    /// From this address; `<>` is the sender of notifications.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// To this address, as long as it waits.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// To somebody in this domain who waits.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Received longer ago than this: 30m, 12h, 3d.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Received within this time.
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer_than: Option<Duration>,
    /// Held ones.
    #[arg(long)]
    held: bool,
    /// In this state.
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// All messages.
    #[arg(long, conflicts_with_all = ["ids", "more_ids", "from", "to", "domain", "older_than", "newer_than", "held", "state"])]
    all: bool,
}

// === impl Matching ===

impl Matching {
    /// Without any: the whole queue.
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        self.filter_at(SystemTime::now())
    }

    /// The whole queue must be meant.
    pub(super) fn explicit_filter(&self) -> Result<Filter, Failure> {
        let filter = self.filter()?;
        if filter == Filter::default() && !self.all {
            let text = "which messages? Give ids, or --from, --to, --domain, --older-than, --newer-than, --held, --state, or --all";
            return Err(Failure::new(Exit::Usage, text));
        }
        Ok(filter)
    }

    fn filter_at(&self, now: SystemTime) -> Result<Filter, Failure> {
        let ids = self.ids.iter().chain(&self.more_ids);
        Ok(Filter {
            ids: ids.map(|id| parse_id(id).map(|id| id.to_string())).collect::<Result<_, _>>()?,
            sender: self.from.as_deref().map(sender).transpose()?,
            recipient: self.to.as_deref().map(recipient).transpose()?,
            domain: self.domain.as_deref().map(domain).transpose()?,
            before_ms: self.older_than.map(|age| before(now, age)),
            since_ms: self.newer_than.map(|age| before(now, age)),
            held: self.held.then_some(true),
            state: self.state,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let all =
            ["1m829761e0000", "--id", "1M829761E000O", "--from", "<A@x.example>", "--to", "b@y.example"];
        let more = ["--domain", "y.example", "--older-than", "1d", "--newer-than", "2d 1h", "--held"];
        let filter = matching(&[&all[..], &more[..]].concat()).filter_at(now).unwrap();
        assert_eq!(filter.ids, ["1M829761E0000", "1M829761E0000"]);
        assert_eq!(filter.sender.as_deref(), Some("A@x.example"));
        assert_eq!(filter.recipient.as_deref(), Some("b@y.example"));
        assert_eq!(filter.domain.as_deref(), Some("y.example"));
        assert_eq!(filter.before_ms, Some((1_000_000 - 86_400) * 1_000));
        assert_eq!(filter.since_ms, Some((1_000_000 - 2 * 86_400 - 3_600) * 1_000));
        assert_eq!(filter.held, Some(true));
        let filter = matching(&["--state", "in-delivery"]).filter_at(now).unwrap();
        assert_eq!(filter.state.map(State::name), Some("in-delivery"));
        assert_eq!(matching(&["--from", "<>"]).filter_at(now).unwrap().sender.as_deref(), Some(""));
        assert_eq!(
            matching(&["--to", "Postmaster"]).filter_at(now).unwrap().recipient.as_deref(),
            Some("postmaster")
        );
    }

    #[test]
    fn a_slip_is_refused_instead_of_matching_nothing_or_everything() {
        for wrong in [["--from", "me"], ["--to", "<a@b"], ["--domain", "a b"], ["--id", "17"]] {
            assert!(matching(&wrong).filter().is_err(), "{wrong:?}");
        }
        assert!(matching(&[]).explicit_filter().is_err());
        assert_eq!(matching(&["--all"]).explicit_filter().unwrap(), Filter::default());
        for wrong in [&["--all", "--held"][..], &["--older-than", "-1d"], &["--older-than", "3"]] {
            assert!(Line::try_parse_from(std::iter::once(&"x").chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
