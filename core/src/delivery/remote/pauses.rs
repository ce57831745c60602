//! When mail to other servers was paused: time that counts neither towards a notice of delay nor towards the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checked_json::{self, Damaged};

/// All pauses that mail may still have waited through. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Pauses(Arc<Mutex<Vec<Pause>>>);

/// When it began and when it ended, milliseconds since 1970; `None`: it goes on.
type Pause = (u64, Option<u64>);

// === impl Pauses ===

impl Pauses {
    /// Whether mail is paused from now on. One that goes on already goes on, also where the server was not there meanwhile: nothing
    /// was sent then either.
    pub(super) fn note(&self, is_paused: bool, now_ms: u64) {
        let mut known = self.known();
        let open = known.last_mut().filter(|(_, end)| end.is_none());
        match open {
            Some((_, end)) if !is_paused => *end = Some(now_ms),
            None if is_paused => {
                if known.len() >= PAUSES_MAX {
                    known.remove(0);
                }
                known.push((now_ms, None));
            }
            _ => {}
        }
    }

    /// For how many milliseconds between two times (since 1970) mail was paused.
    pub(super) fn between(&self, from_ms: u64, to_ms: u64) -> u64 {
        let shared = |(begin, end): &Pause| {
            end.map_or(to_ms, |end| end.min(to_ms)).saturating_sub((*begin).max(from_ms))
        };
        // Where the clock was set back, they may overlap: nobody waits for longer than he has.
        let sum = self.known().iter().map(shared).fold(0, u64::saturating_add);
        sum.min(to_ms.saturating_sub(from_ms))
    }

    /// As octets for a file: the same for the same.
    #[must_use]
    pub fn remember(&self) -> Vec<u8> {
        checked_json::write(TITLE, &*self.known())
    }

    /// Takes over what a file has; it comes before anything is noted.
    ///
    /// # Errors
    /// The file cannot be believed; nothing is taken over.
    pub fn recall(&self, octets: &[u8]) -> Result<(), Damaged> {
        let pauses: Vec<Pause> = checked_json::read(TITLE, octets)?;
        let is_over = |(_, end): &Pause| end.is_some();
        let last = pauses.len().saturating_sub(1);
        if pauses.len() > PAUSES_MAX || !pauses.iter().take(last).all(is_over) {
            return Err(Damaged::Form);
        }
        *self.known() = pauses;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Vec<Pause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const TITLE: &str = "gatepost-pauses 1 ";
/// Several a day for as long as mail may wait; beyond, the oldest is forgotten.
const PAUSES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_that_was_paused_is_counted() {
        let pauses = Pauses::default();
        for (is_paused, at) in [(false, 5), (true, 10), (true, 15), (false, 20), (false, 25), (true, 40)] {
            pauses.note(is_paused, at);
        }
        for (from, to, paused) in [
            (0, 5, 0),
            (0, 15, 5),
            (12, 18, 6),
            (0, 30, 10),
            (20, 40, 0),
            (15, 50, 15),
            (60, 90, 30),
            (50, 45, 0),
        ] {
            assert_eq!(pauses.between(from, to), paused, "{from} to {to}");
        }
    }

    #[test]
    fn a_pause_goes_on_over_a_restart_and_ends_where_it_is_lifted_without_one() {
        let first = Pauses::default();
        first.note(true, 10);
        let (still, over) = (Pauses::default(), Pauses::default());
        for (next, is_paused) in [(&still, true), (&over, false)] {
            next.recall(&first.remember()).unwrap();
            next.note(is_paused, 100);
        }
        assert_eq!((still.between(0, 150), over.between(0, 150)), (140, 90));
        let damaged: Vec<u8> = first.remember().iter().map(|octet| octet ^ 1).collect();
        assert_eq!(Pauses::default().recall(&damaged), Err(Damaged::Version));
        let two_open = checked_json::write(TITLE, &[(1_u64, None::<u64>), (2, None)]);
        assert_eq!(Pauses::default().recall(&two_open), Err(Damaged::Form));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_mail_younger_than_new() {
        let pauses = Pauses::default();
        for (is_paused, at) in [(true, 10), (false, 100), (true, 20), (false, 90)] {
            pauses.note(is_paused, at);
        }
        assert_eq!(pauses.between(15, 95), 80);
        pauses.note(true, 200);
        pauses.note(false, 150);
        assert_eq!(pauses.between(0, 1_000), 160);
    }

    #[test]
    fn they_are_bounded() {
        let pauses = Pauses::default();
        for at in 0..3 * PAUSES_MAX as u64 {
            pauses.note(at % 2 == 0, at);
        }
        let again = Pauses::default();
        again.recall(&pauses.remember()).unwrap();
        assert_eq!(again.known().len(), PAUSES_MAX);
    }
}
