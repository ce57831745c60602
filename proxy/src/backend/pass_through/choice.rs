//! Which server is next: by weight among those that answer, then those that are for need, then those that did not answer.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What counts of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) weight: u16,
    pub(super) is_up: bool,
    /// Whether it has been asked for this mail.
    pub(super) is_tried: bool,
}

/// Hands out turns.
#[derive(Debug, Default)]
pub(super) struct Turns(AtomicUsize);

// === impl Turns ===

impl Turns {
    pub(super) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The index of the next server to ask; `None` once all have been.
pub(super) fn choose(candidates: &(impl Iterator<Item = Candidate> + Clone), turn: usize) -> Option<usize> {
    let untried = || candidates.clone().enumerate().filter(|(_, it)| !it.is_tried);
    let shares = || untried().filter(|(_, it)| it.is_up && it.weight > 0);
    let total: usize = shares().map(|(_, it)| usize::from(it.weight)).sum();
    if let Some(mut place) = turn.checked_rem(total) {
        for (index, it) in shares() {
            match place.checked_sub(usize::from(it.weight)) {
                Some(rest) => place = rest,
                None => return Some(index),
            }
        }
    }
    let first =
        |is_wanted: fn(&Candidate) -> bool| untried().find(|(_, it)| is_wanted(it)).map(|(index, _)| index);
    // One that did not answer may be back before it was asked again.
    first(|it| it.is_up).or_else(|| first(|it| it.weight > 0)).or_else(|| first(|_| true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn up(weight: u16) -> Candidate {
        Candidate { weight, is_up: true, is_tried: false }
    }

    #[test]
    fn servers_share_by_weight_and_spares_get_nothing() {
        let candidates = [up(1), up(0), up(3)];
        let mut turns = [0; 3];
        for turn in 0..400 {
            turns[choose(&candidates.into_iter(), turn).unwrap()] += 1;
        }
        assert_eq!(turns, [100, 0, 300]);
    }

    #[test]
    fn a_spare_comes_before_one_that_did_not_answer() {
        let down = Candidate { is_up: false, ..up(5) };
        assert_eq!(choose(&[down, up(0)].into_iter(), 0), Some(1));
        let spare_down = Candidate { is_up: false, ..up(0) };
        assert_eq!(choose(&[spare_down, down].into_iter(), 0), Some(1));
        assert_eq!(choose(&[spare_down].into_iter(), 0), Some(0));
    }

    proptest! {
        #[test]
        fn each_is_asked_once(
            servers in prop::collection::vec((0_u16..4, any::<bool>()), 0..8),
            turn in any::<usize>(),
        ) {
            let mut candidates: Vec<_> = servers
                .into_iter()
                .map(|(weight, is_up)| Candidate { weight, is_up, is_tried: false })
                .collect();
            for _ in 0..candidates.len() {
                let index = choose(&candidates.iter().copied(), turn).unwrap();
                prop_assert!(!candidates[index].is_tried);
                candidates[index].is_tried = true;
            }
            prop_assert_eq!(choose(&candidates.iter().copied(), turn), None);
        }
    }
}
