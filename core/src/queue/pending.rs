//! Which recipients of a message have no terminal disposition yet.

/// A set of recipients' indices: one word for up to 64 of them, which is nearly every mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pending {
    Few(u64),
    Many(Box<[u64]>),
}

// === impl Pending ===

impl Pending {
    pub(super) fn all(recipients: usize) -> Self {
        if recipients <= WORD {
            return Self::Few(low_bits(recipients));
        }
        let words = (0..recipients.div_ceil(WORD))
            .map(|word| low_bits(recipients.saturating_sub(word.saturating_mul(WORD))));
        Self::Many(words.collect())
    }

    /// As `words` gave them.
    pub(super) fn of_words(words: &[u64]) -> Self {
        match words {
            [] => Self::Few(0),
            [word] => Self::Few(*word),
            words => Self::Many(words.into()),
        }
    }

    pub(super) fn contains(&self, recipient: usize) -> bool {
        self.words().get(recipient / WORD).is_some_and(|word| word & bit(recipient) != 0)
    }

    pub(super) fn remove(&mut self, recipient: usize) {
        let words = match self {
            Self::Few(word) => std::slice::from_mut(word),
            Self::Many(words) => words,
        };
        if let Some(word) = words.get_mut(recipient / WORD) {
            *word &= !bit(recipient);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.words().iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn indices(&self) -> Vec<usize> {
        (0..self.words().len().saturating_mul(WORD)).filter(|recipient| self.contains(*recipient)).collect()
    }

    /// 64 recipients each, the first in the lowest bit.
    pub(super) fn words(&self) -> &[u64] {
        match self {
            Self::Few(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

fn low_bits(count: usize) -> u64 {
    u32::try_from(count).ok().and_then(|count| u64::MAX.checked_shl(count)).map_or(u64::MAX, |high| !high)
}

fn bit(recipient: usize) -> u64 {
    let low = u32::try_from(recipient % WORD).unwrap_or(0);
    1_u64.rotate_left(low)
}

const WORD: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_indices(recipients in 0_usize..300, removed in prop::collection::vec(0_usize..400, 0..50)) {
            let mut pending = Pending::all(recipients);
            let mut model: BTreeSet<usize> = (0..recipients).collect();
            for recipient in removed {
                pending.remove(recipient);
                model.remove(&recipient);
                prop_assert_eq!(pending.count(), model.len());
            }
            prop_assert_eq!(pending.indices(), model.into_iter().collect::<Vec<_>>());
        }
    }
}
