//! What a clean message was scanned with, and its short text form for queue records and mailbox databases.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::{EngineIdentity, Seal};

/// The version of our own scan policy: which items a message has, which limits hold, and what an engine's answer means. Raised with
/// every change that lets the plan see more or has an answer read otherwise, so that older stamps become stale, and what is kept
/// of items with them.
pub const POLICY_VERSION: u32 = 6;

/// Under which signatures and policy a message was found clean. Text form: `ENGINE/SIGNATURES/POLICY`, such as
/// `yara/9f2c51d07ab34e18/1`, at most 140 octets of ASCII, and behind it `/` and the seal, if there is one.
///
/// Two stamps are equal if they say the same. Whether one is ours is another question, which `Scanner::vouches` answers.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The engine and its signatures.
    pub engine: EngineIdentity,
    /// The version of our own scan policy ([`POLICY_VERSION`] when it was made).
    pub policy: u32,
    pub(super) seal: Option<Seal>,
}

/// A text that is no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scan stamp is ENGINE/SIGNATURES/POLICY")]
pub struct InvalidStamp;

// === impl Stamp ===

impl Stamp {
    /// Without a seal: it says something, and proves nothing.
    #[must_use]
    pub const fn new(engine: EngineIdentity, policy: u32) -> Self {
        Self { engine, policy, seal: None }
    }

    /// What it says, for people.
    #[must_use]
    pub fn unsealed(&self) -> Self {
        Self { seal: None, ..self.clone() }
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        (&self.engine, self.policy) == (&other.engine, other.policy)
    }
}

impl Eq for Stamp {}

impl Hash for Stamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.engine, self.policy).hash(state);
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.engine.name(), self.engine.signatures(), self.policy)?;
        self.seal.iter().try_for_each(|seal| write!(f, "/{seal}"))
    }
}

impl FromStr for Stamp {
    type Err = InvalidStamp;

    fn from_str(text: &str) -> Result<Self, InvalidStamp> {
        let mut fields = text.split('/');
        let (Some(name), Some(signatures), Some(policy), seal, None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(InvalidStamp);
        };
        let seal = seal.map(str::parse).transpose()?;
        let engine = EngineIdentity::new(name, signatures).map_err(|_| InvalidStamp)?;
        let version: u32 = policy.parse().map_err(|_| InvalidStamp)?;
        // One stamp has one text: `+1` and `01` are not it.
        if version.to_string() != policy {
            return Err(InvalidStamp);
        }
        Ok(Self { engine, policy: version, seal })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SealKey;
    use super::*;

    proptest! {
        #[test]
        fn a_stamp_survives_its_text_form(
            name in "[A-Za-z0-9._-]{1,64}",
            signatures in "[A-Za-z0-9._-]{1,64}",
            policy: u32,
        ) {
            let stamp = Stamp::new(EngineIdentity::new(&name, &signatures).unwrap(), policy);
            let text = stamp.to_string();
            prop_assert!(text.len() <= 140);
            prop_assert_eq!(text.parse::<Stamp>(), Ok(stamp.clone()));
            let sealed = SealKey::default().seal(&[3; 32], None, &stamp);
            let text = sealed.to_string();
            let read = text.parse::<Stamp>().unwrap();
            prop_assert_eq!((read.seal, read.to_string()), (sealed.seal, text));
        }

        #[test]
        fn a_text_that_parses_is_the_only_text_of_its_stamp(text in "[a-z/0-9+]{0,12}") {
            if let Ok(stamp) = text.parse::<Stamp>() {
                prop_assert_eq!(stamp.to_string(), text);
            }
        }
    }

    #[test]
    fn a_malformed_stamp_is_refused() {
        let long = format!("{}/b/1", "a".repeat(65));
        for text in [
            "",
            "yara",
            "yara/abc",
            "yara/abc/",
            "yara//1",
            "/abc/1",
            "yara/abc/1/2",
            &format!("yara/abc/1/{}", "A".repeat(64)),
            &format!("yara/abc/1/{}/", "a".repeat(64)),
            "ya ra/a/1",
            "y/a/01",
            "y/a/+1",
            &long,
        ] {
            assert_eq!(text.parse::<Stamp>(), Err(InvalidStamp), "{text:?}");
        }
    }
}
