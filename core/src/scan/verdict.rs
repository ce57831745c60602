//! What a scan said.

use std::fmt;

use super::{ItemName, Stamp};

/// Of one item, or of a whole message: the worst of its items.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing found.
    Clean,
    /// A virus.
    Infected {
        /// Its name, `[A-Za-z0-9._-]`, at most 128 (see [`threat_name`]).
        threat: String,
    },
    /// It cannot be looked into, and the policy does not let such content pass.
    Unscannable {
        /// Which limit or defect.
        reason: Obstacle,
    },
    /// No verdict in time.
    TimedOut,
    /// The engine failed.
    Failed,
}

/// Why a part of a message cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// An archive's entry, a document or a part needs a password or a key.
    Encrypted,
    /// Parts, nested messages and archives are nested too deeply.
    TooDeep,
    /// The message has too many parts.
    TooManyParts,
    /// A header section is too long.
    HeadersTooLong,
    /// An archive has too many entries.
    TooManyEntries,
    /// An entry grows out of all proportion, or all parts together grow too large: a decompression bomb.
    TooLarge,
    /// An archive is damaged, or is packed by a method that we do not know.
    Broken,
    /// Programs would disagree about what it holds: a multipart does not say plainly where its parts begin, an archive
    /// contradicts itself, a header section has octets that some take for its end.
    Ambiguous,
    /// An engine's own limits keep it from looking at all of it.
    EngineLimit,
    /// A fragment of a message (`message/partial`), of which no one ever sees the whole before the reader does.
    Fragment,
    /// A part that its reader fetches from elsewhere (`message/external-body`).
    External,
}

/// What obstacles have in common, for those who decide what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObstacleKind {
    /// It needs a password or a key.
    Encrypted,
    /// The message does not hold all of it.
    Partial,
    /// It is damaged or unknown.
    Broken,
    /// It is more than a scan can look at.
    OverLimit,
    /// It means different things to different programs.
    Ambiguous,
}

/// The result of scanning one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanReport {
    /// The worst verdict of its items, after the policy for unscannable content.
    pub verdict: Verdict,
    /// The item in which a virus was found.
    pub culprit: Option<ItemName>,
    /// What the policy let pass although it could not be looked into. Empty for most mail.
    pub tolerated: Vec<Obstacle>,
    /// What it was scanned with.
    pub stamp: Stamp,
    /// Items looked at.
    pub items: usize,
    /// Octets looked at.
    pub octets: u64,
}

/// Makes a threat's name of an engine's word for it: `[A-Za-z0-9._-]`, 1 to 128 octets. Anything else becomes `_`, since
/// the name goes into replies, logs and queue records.
#[must_use]
pub fn threat_name(raw: &str) -> String {
    let name: String = raw
        .chars()
        .take(THREAT_OCTETS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

// === impl Verdict ===

impl Verdict {
    /// The worse of the two: a virus over everything, then no answer, then what cannot be looked into.
    pub fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    /// Clean, where what was found does not count.
    pub(super) fn without(self, forgiven: &dyn Fn(&str) -> bool) -> Self {
        match self.finding() {
            Some(finding) if forgiven(&finding) => Self::Clean,
            _ => self,
        }
    }

    /// The name of what keeps a mail back for good, `[A-Za-z0-9._-]`: the threat's, or `unscannable.` and the obstacle's.
    /// `None` for a clean one, and where another scan may know more.
    #[must_use]
    pub fn finding(&self) -> Option<String> {
        match self {
            Self::Infected { threat } => Some(threat.clone()),
            Self::Unscannable { reason } => Some(threat_name(&format!("unscannable.{reason}"))),
            Self::Clean | Self::TimedOut | Self::Failed => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Unscannable { .. } => 1,
            Self::Failed => 2,
            Self::TimedOut => 3,
            Self::Infected { .. } => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("clean"),
            Self::Infected { threat } => write!(f, "infected: {threat}"),
            Self::Unscannable { reason } => write!(f, "unscannable: {reason}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Failed => f.write_str("the engine failed"),
        }
    }
}

// === impl Obstacle ===

impl Obstacle {
    /// Which kind it is of.
    #[must_use]
    pub const fn kind(self) -> ObstacleKind {
        match self {
            Self::Encrypted => ObstacleKind::Encrypted,
            Self::Fragment | Self::External => ObstacleKind::Partial,
            Self::Broken => ObstacleKind::Broken,
            Self::TooDeep
            | Self::TooManyParts
            | Self::HeadersTooLong
            | Self::TooManyEntries
            | Self::TooLarge
            | Self::EngineLimit => ObstacleKind::OverLimit,
            Self::Ambiguous => ObstacleKind::Ambiguous,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted => "encrypted",
            Self::TooDeep => "nested too deeply",
            Self::TooManyParts => "too many parts",
            Self::HeadersTooLong => "header section too long",
            Self::TooManyEntries => "too many archive entries",
            Self::TooLarge => "expands too far",
            Self::Broken => "damaged or unknown archive",
            Self::Ambiguous => "means different things to different programs",
            Self::EngineLimit => "beyond the limits of a scan engine",
            Self::Fragment => "fragment of a message",
            Self::External => "content from elsewhere",
        })
    }
}

/// Long enough for every vendor's naming scheme, short enough for a reply line.
const THREAT_OCTETS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virus_outweighs_everything_and_clean_nothing() {
        let infected = || Verdict::Infected { threat: "x".into() };
        assert_eq!(Verdict::TimedOut.worse(infected()), infected());
        assert_eq!(infected().worse(Verdict::Failed), infected());
        let broken = || Verdict::Unscannable { reason: Obstacle::Broken };
        assert_eq!(Verdict::Clean.worse(broken()), broken());
        assert_eq!(broken().worse(Verdict::Clean), broken());
        assert_eq!(broken().worse(Verdict::Failed), Verdict::Failed);
    }

    #[test]
    fn what_keeps_a_mail_back_has_a_name() {
        assert_eq!(Verdict::Infected { threat: "x".into() }.finding().as_deref(), Some("x"));
        let bomb = Verdict::Unscannable { reason: Obstacle::TooLarge };
        assert_eq!(bomb.finding().as_deref(), Some("unscannable.expands_too_far"));
        assert_eq!(Verdict::Failed.finding(), None);
    }

    #[test]
    fn a_threat_name_carries_nothing_but_its_alphabet() {
        assert_eq!(threat_name("Win.Test/EICAR HDB\r\n"), "Win.Test_EICAR_HDB__");
        assert_eq!(threat_name(""), "unnamed");
        assert_eq!(threat_name(&"é".repeat(500)), "_".repeat(128));
    }
}
