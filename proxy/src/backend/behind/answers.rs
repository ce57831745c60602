//! Remembers what the server behind has said of recipients, so that it is not asked for each RCPT.
//!
//! Sessions that want to know the same at the same time wait for one answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatepost_core::delivery::remote::Probe;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

/// The answers of the last hours.
#[derive(Debug)]
pub struct Answers {
    times: Times,
    known: Mutex<HashMap<String, Arc<Slot>>>,
    /// One for each question on its way.
    places: Semaphore,
}

/// How long answers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// That a recipient is known.
    pub known: Duration,
    /// That he is not.
    pub unknown: Duration,
}

/// An answer and until when it holds; empty while it is asked for.
type Slot = OnceCell<(Probe, Instant)>;

// === impl Answers ===

impl Answers {
    /// None yet.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self { times, known: Mutex::new(HashMap::new()), places: Semaphore::new(QUESTIONS_MAX) }
    }

    /// The answer for an address: the remembered one, or the one that `ask` brings.
    pub async fn of<F>(&self, address: String, ask: impl FnOnce() -> F + Send) -> Probe
    where
        F: Future<Output = Probe> + Send,
    {
        let asked = async {
            let place = tokio::time::timeout(PLACE_TIME, self.places.acquire()).await;
            // On the heap, since it holds a whole conversation: every RCPT would have room for one otherwise.
            let probe = if matches!(place, Ok(Ok(_))) { Box::pin(ask()).await } else { Probe::Unavailable };
            (probe, self.until(probe))
        };
        let slot = self.slot(address);
        let (probe, _) = slot.get_or_init(|| asked).await;
        *probe
    }

    /// Where the memory is full of answers that hold, the question is one session's own.
    fn slot(&self, address: String) -> Arc<Slot> {
        let now = Instant::now();
        let holds = |slot: &Slot| slot.get().is_none_or(|(_, until)| *until > now);
        let mut known = self.known();
        if let Some(slot) = known.get(&address).filter(|slot| holds(slot)) {
            return Arc::clone(slot);
        }
        if known.len() >= ANSWERS_MAX {
            // Nobody waits for a slot that only the memory has.
            known.retain(|_, slot| holds(slot) && (slot.initialized() || Arc::strong_count(slot) > 1));
        }
        let slot = Arc::new(Slot::new());
        if known.len() < ANSWERS_MAX {
            known.insert(address, Arc::clone(&slot));
        }
        slot
    }

    fn until(&self, probe: Probe) -> Instant {
        let time = match probe {
            Probe::Known { .. } => self.times.known,
            Probe::Unknown | Probe::NoUtf8 => self.times.unknown,
            Probe::Unavailable => UNAVAILABLE_TIME,
        };
        let now = Instant::now();
        now.checked_add(time).unwrap_or(now)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some 20 MiB; a scan of addresses by a stranger ends at its rate of unknown recipients long before.
const ANSWERS_MAX: usize = 100_000;
/// Questions at the same time: a small server behind can bear them, besides the mail.
const QUESTIONS_MAX: usize = 20;
/// How long a question waits for others.
const PLACE_TIME: Duration = Duration::from_secs(20);
/// A server that is down is not asked for each RCPT, and not taken for dead when it is back.
const UNAVAILABLE_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const KNOWN: Probe = Probe::Known { takes_utf8: true };
    const TIMES: Times = Times { known: Duration::from_secs(3600), unknown: Duration::from_secs(60) };

    struct Asked {
        answers: Answers,
        questions: AtomicUsize,
    }

    impl Asked {
        fn new() -> Self {
            Self { answers: Answers::new(TIMES), questions: AtomicUsize::new(0) }
        }

        async fn of(&self, address: &str, probe: Probe) -> Probe {
            let ask = || async {
                self.questions.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                probe
            };
            self.answers.of(address.to_owned(), ask).await
        }

        fn questions(&self) -> usize {
            self.questions.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_is_believed_for_its_time() {
        for (probe, seconds) in [(KNOWN, 3600), (Probe::Unknown, 60), (Probe::Unavailable, 10)] {
            let asked = Asked::new();
            for _ in 0..3 {
                assert_eq!(asked.of("a@b", probe).await, probe);
            }
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert_eq!(asked.of("a@b", probe).await, probe);
            assert_eq!(asked.questions(), 1, "{probe:?}");
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(asked.of("a@b", KNOWN).await, KNOWN);
            assert_eq!(asked.questions(), 2, "{probe:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_the_same_at_the_same_time_waits_for_one_answer() {
        let asked = Asked::new();
        let (one, other, third) =
            tokio::join!(asked.of("a@b", KNOWN), asked.of("a@b", KNOWN), asked.of("c@b", Probe::Unknown));
        assert_eq!((one, other, third), (KNOWN, KNOWN, Probe::Unknown));
        assert_eq!(asked.questions(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_goes_away_leaves_the_question_to_the_next() {
        let asked = Asked::new();
        let gone = tokio::time::timeout(Duration::from_millis(10), asked.of("a@b", KNOWN));
        assert!(gone.await.is_err());
        assert_eq!(asked.of("a@b", Probe::Unknown).await, Probe::Unknown);
        assert_eq!(asked.questions(), 2);
    }

    #[test]
    fn a_question_takes_room_only_when_it_is_asked() {
        let answers = Answers::new(TIMES);
        let ask = || async {
            let conversation = [0_u8; 100_000];
            tokio::task::yield_now().await;
            std::hint::black_box(&conversation);
            KNOWN
        };
        assert!(size_of_val(&answers.of("a@b".to_owned(), ask)) < 2_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_memory_that_is_full_of_old_answers_has_room_and_one_of_fresh_ones_does_not_grow() {
        let asked = Asked::new();
        let fresh = Arc::new(Slot::from((KNOWN, Instant::now() + Duration::from_secs(30))));
        for number in 0..ANSWERS_MAX {
            asked.answers.known().insert(number.to_string(), Arc::clone(&fresh));
        }
        assert_eq!(asked.of("a@b", KNOWN).await, KNOWN);
        assert_eq!(asked.answers.known().len(), ANSWERS_MAX);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(asked.of("a@b", KNOWN).await, KNOWN);
        assert_eq!(asked.answers.known().len(), 1);
    }
}
