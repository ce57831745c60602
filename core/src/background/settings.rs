//! How a place is scanned in the background.

use std::num::NonZeroU32;
use std::time::Duration;

/// The settings of one place. The classic names stand behind each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether new signatures and the calendar start a scan; an order always does (`BackgroundScanning`).
    pub enabled: bool,
    /// So many messages are scanned in a second at most; `None`: as many as can be.
    pub messages_per_second: Option<NonZeroU32>,
    /// A scan begins again this long after the last one began, new signatures or not.
    pub every: Option<Duration>,
    /// Leave out what was ever scanned, by whichever signatures (`BackgroundScanningOnlyUnscanned`).
    pub only_unscanned: bool,
    /// Leave out messages that are one text and nothing else (`BackgroundScanningAttachmentMessagesOnly`).
    pub only_attachments: bool,
    /// Scan also what the current signatures vouch for (`BackgroundScanningIgnoreStamp`).
    pub ignore_stamps: bool,
    /// Leave out what was received longer ago.
    pub age_max: Option<Duration>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            messages_per_second: Some(MESSAGES_PER_SECOND_DEFAULT),
            every: None,
            only_unscanned: false,
            only_attachments: false,
            ignore_stamps: false,
            age_max: None,
        }
    }
}

impl Settings {
    /// How many scans may be with the scanner at once. Throttled, it is one, so that the scan never has more than one of the
    /// scanner's threads; unthrottled, they stay below what may wait at low priority.
    pub(super) const fn at_once(&self) -> usize {
        if self.messages_per_second.is_some() { 1 } else { AT_ONCE_UNTHROTTLED }
    }

    /// How many messages are scanned between two looks at the clock.
    pub(super) fn messages_per_turn(&self) -> usize {
        let Some(rate) = self.messages_per_second else { return MESSAGES_PER_TURN_MAX };
        let tenth = usize::try_from(rate.get() / TURNS_PER_SECOND).unwrap_or(usize::MAX);
        tenth.clamp(1, MESSAGES_PER_TURN_MAX)
    }
}

/// Some tenth of one processor where a mail takes a millisecond to scan: a million mails in less than three hours.
const MESSAGES_PER_SECOND_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// The classic queue has 30 places at low priority, and delivery needs some of them.
const AT_ONCE_UNTHROTTLED: usize = 16;
/// Their marks share a flush.
const MESSAGES_PER_TURN_MAX: usize = 256;
const TURNS_PER_SECOND: u32 = 10;
