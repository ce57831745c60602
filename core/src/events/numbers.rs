//! What each event is known by, whatever its words become.

use super::What;

// === impl What ===

impl What {
    /// Whose end this is, and which: `delivered`, `deleted`, `quarantined`, `replaced`, `bounced` or `removed`.
    #[must_use]
    pub const fn end_of(&self) -> Option<(&String, &'static str)> {
        match self {
            Self::Delivered { recipient } => Some((recipient, "delivered")),
            Self::Deleted { recipient, .. } => Some((recipient, "deleted")),
            Self::Quarantined { recipient, .. } => Some((recipient, "quarantined")),
            Self::Bounced { recipient, .. } => Some((recipient, "bounced")),
            Self::Replaced { recipient, .. } => Some((recipient, "replaced")),
            Self::Removed { recipient, .. } => Some((recipient, "removed")),
            _ => None,
        }
    }

    /// The id of the mail that this one goes on as, whole or in part.
    #[must_use]
    pub const fn goes_on_as(&self) -> Option<&String> {
        match self {
            Self::Replaced { by: id, .. }
            | Self::Rewritten { rewritten_as: id, .. }
            | Self::QuarantineReleased { released_as: id, .. } => Some(id),
            Self::Remedied { kept_as, .. } => kept_as.as_ref(),
            _ => None,
        }
    }

    /// The stable number: hundreds are the part of the story (1 connection, 2 command, 3 mail, 4 recipient,
    /// 5 scan engines, 6 the quarantine, 7 mailboxes, 8 the queue, 9 the log, 10 the machine).
    #[must_use]
    pub const fn id(&self) -> u16 {
        match self {
            Self::SessionClosed { .. } => 101,
            Self::Refused { .. } => 201,
            Self::Authenticated { .. } => 202,
            Self::Attack { .. } => 203,
            Self::Quirk { .. } => 204,
            Self::Scanned { .. } => 301,
            Self::Accepted { .. } => 302,
            Self::Stripped { .. } => 303,
            Self::Notified { .. } => 304,
            Self::Stuck { .. } => 305,
            Self::Rewritten { .. } => 306,
            Self::Damaged { .. } => 307,
            Self::Missing { .. } => 308,
            Self::NotSent { .. } => 309,
            Self::Unscanned { .. } => 310,
            Self::Delivered { .. } => 401,
            Self::Deferred { .. } => 402,
            Self::Deleted { .. } => 403,
            Self::Quarantined { .. } => 404,
            Self::Bounced { .. } => 405,
            Self::Replaced { .. } => 406,
            Self::Removed { .. } => 407,
            Self::EngineLoaded { .. } => 501,
            Self::EngineUnloaded { .. } => 502,
            Self::EngineFailed { .. } => 503,
            Self::EngineMisconfigured { .. } => 504,
            Self::EngineUnexpected { .. } => 505,
            Self::QuarantineListed { .. } => 601,
            Self::QuarantineShown { .. } => 602,
            Self::QuarantineReleased { .. } => 603,
            Self::QuarantineWithheld { .. } => 604,
            Self::QuarantineDeleted { .. } => 605,
            Self::QuarantineExpired { .. } => 606,
            Self::QuarantineVirusFound { .. } => 607,
            Self::BackgroundStarted { .. } => 701,
            Self::BackgroundFinished { .. } => 702,
            Self::VirusFound { .. } => 703,
            Self::MailRead { .. } => 704,
            Self::Remedied { .. } => 705,
            Self::Ordered { .. } => 801,
            Self::Refusing { .. } => 802,
            Self::Accepting => 803,
            Self::Cut { .. } => 804,
            Self::Stalled { .. } => 805,
            Self::Resumed { .. } => 806,
            Self::QueueVirusFound { .. } => 807,
            Self::Gap { .. } => 901,
            Self::ClockJumped { .. } => 1001,
        }
    }
}

#[cfg(test)]
mod tests {
    /// Each event's number by its variant, and its name by the same, as the sources have them.
    fn numbers_and_names() -> Vec<(&'static str, &'static str)> {
        let named = |variant: &str| {
            let lines = include_str!("catalogue.rs").lines().map(str::trim);
            let behind =
                lines.clone().skip(1).position(|line| line.strip_prefix(variant).is_some_and(begins));
            let rename = lines.clone().nth(behind.expect("every event is in the catalogue")).unwrap();
            let name = rename.strip_prefix("#[serde(rename = \"").and_then(|rest| rest.split('"').next());
            name.unwrap_or_else(|| panic!("{variant} has no name of its own: {rename}"))
        };
        let arms = include_str!("numbers.rs").lines().filter_map(|line| line.trim().split_once(" => "));
        let arms = arms.filter_map(|(variant, number)| {
            let number = number.strip_suffix(',').filter(|number| number.parse::<u16>().is_ok())?;
            let variant = variant.strip_prefix("Self::")?.split(' ').next()?;
            Some((number, named(variant)))
        });
        arms.collect()
    }

    fn begins(rest: &str) -> bool {
        rest == "," || rest.starts_with(" {")
    }

    #[test]
    fn the_guide_has_every_event_by_number_and_name() {
        let events = numbers_and_names();
        assert!(events.len() > 40, "{events:?}");
        let guide = include_str!("../../../deploy/guide.md");
        for (number, name) in events {
            assert!(
                guide.contains(&format!("\n| {number} | `{name}` | ")),
                "{number} {name} is not in the guide"
            );
        }
    }
}
