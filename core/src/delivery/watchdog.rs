//! Tells of work that goes on beyond every deadline it has, and of a queue that does not get on.
//!
//! Each attempt has time limits of its own, so this speaks of bugs and of a machine that stands still: it has a thread of
//! its own, since the runtime may be what is stuck.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use crate::events::{About, Log, What};
use crate::queue::{NewMessage, ProgressWatch};
use crate::threads;

/// Watches attempts. Clones are the same one; its thread ends with the last.
#[derive(Debug, Clone)]
pub struct Watchdog {
    inner: Arc<Inner>,
}

/// An attempt that is being watched; over when dropped.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<Inner>,
    number: u64,
}

/// A queue that is being watched; over when dropped.
#[derive(Debug)]
pub struct WatchedQueue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    attempts: Mutex<Attempts>,
    queue: Mutex<Option<ProgressWatch>>,
    /// Its end wakes the thread, which then ends too.
    ended: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Debug, Default)]
struct Attempts {
    next: u64,
    running: HashMap<u64, Running>,
}

#[derive(Debug)]
struct Running {
    about: About,
    doing: &'static str,
    since: Instant,
    limit: Duration,
    is_told: bool,
}

// === impl Watchdog ===

impl Watchdog {
    /// Starts its thread. `stuck`: how many attempts are beyond their limits now.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(events: Log, stuck: Option<IntGauge>) -> io::Result<Self> {
        Self::start_with(events, stuck, LOOK_PAUSE)
    }

    /// Begins to watch an attempt with a mail that must be over after `limit`.
    pub fn watch(&self, message: &NewMessage, doing: &'static str, limit: Duration) -> Watched {
        let origin = &message.submission.origin;
        let about = About { queue_id: Some(message.id.to_string()), ..About::from(origin) };
        let mut attempts = lock(&self.inner.attempts);
        let number = attempts.next;
        attempts.next = number.wrapping_add(1);
        attempts
            .running
            .insert(number, Running { about, doing, since: Instant::now(), limit, is_told: false });
        drop(attempts);
        Watched { inner: Arc::clone(&self.inner), number }
    }

    /// Looks after a queue as a whole, in place of one before.
    #[must_use]
    pub fn watch_queue(&self, watch: ProgressWatch) -> WatchedQueue {
        *lock(&self.inner.queue) = Some(watch);
        WatchedQueue { inner: Arc::clone(&self.inner) }
    }

    fn start_with(events: Log, stuck: Option<IntGauge>, pause: Duration) -> io::Result<Self> {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let inner = Arc::new(Inner {
            attempts: Mutex::default(),
            queue: Mutex::default(),
            ended: Arc::clone(&ended),
        });
        let weak = Arc::downgrade(&inner);
        threads::spawn("watchdog", move || look(&weak, &ended, &events, stuck.as_ref(), pause))?;
        Ok(Self { inner })
    }
}

// === impl Inner ===

impl Inner {
    /// Those beyond their limits, and of whom nobody has been told yet.
    fn stuck(&self) -> (usize, Vec<(About, What)>) {
        let mut attempts = lock(&self.attempts);
        let mut news = Vec::new();
        let mut count: usize = 0;
        for running in attempts.running.values_mut() {
            let seconds = running.since.elapsed();
            if seconds <= running.limit {
                continue;
            }
            count = count.saturating_add(1);
            if !std::mem::replace(&mut running.is_told, true) {
                let what = What::Stuck { doing: running.doing.into(), seconds: seconds.as_secs() };
                news.push((running.about.clone(), what));
            }
        }
        (count, news)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (is_over, changed) = &*self.ended;
        *lock(is_over) = true;
        changed.notify_all();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.inner.attempts).running.remove(&self.number);
    }
}

impl Drop for WatchedQueue {
    fn drop(&mut self) {
        // It may own a watchdog itself, whose end must not find the lock taken.
        let ended = lock(&self.inner.queue).take();
        drop(ended);
    }
}

fn look(
    inner: &Weak<Inner>,
    ended: &(Mutex<bool>, Condvar),
    events: &Log,
    gauge: Option<&IntGauge>,
    pause: Duration,
) {
    let (is_over, changed) = ended;
    loop {
        let waited = changed.wait_timeout_while(lock(is_over), pause, |is_over| !*is_over);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
        let Some(inner) = inner.upgrade() else { return };
        if let Some(watch) = lock(&inner.queue).as_mut() {
            watch.look(Instant::now());
        }
        let (count, news) = inner.stuck();
        if let Some(gauge) = gauge {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (about, what) in news {
            let (queue_id, session) = (about.queue_id.as_deref(), about.session.as_deref());
            tracing::error!(queue_id, session, ?what, "a delivery goes on beyond all its time limits");
            events.record(about, what);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is stuck is so for long.
const LOOK_PAUSE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::delivery::testing::message;
    use crate::disk::SimulatedDisk;
    use crate::queue::{self, Queue};

    #[test]
    fn what_goes_on_beyond_its_limit_is_told_once_and_counted_until_it_ends() {
        let gauge = IntGauge::new("stuck", "stuck").unwrap();
        let pause = Duration::from_millis(2);
        let dog = Watchdog::start_with(Log::discarding(), Some(gauge.clone()), pause).unwrap();
        let message = message(1, &["ann@to.example"]);
        let fine = dog.watch(&message, "fine", Duration::from_secs(3600));
        let stuck = dog.watch(&message, "stuck", Duration::ZERO);
        let until = |count| {
            for _ in 0..5_000 {
                if gauge.get() == count {
                    return;
                }
                std::thread::sleep(pause);
            }
            panic!("{} attempts are stuck", gauge.get());
        };
        until(1);
        assert_eq!(dog.inner.stuck(), (1, Vec::new()), "told already");
        drop(stuck);
        until(0);
        drop(fine);
        assert!(lock(&dog.inner.attempts).running.is_empty());
    }

    #[test]
    fn a_queue_is_looked_after_until_nobody_wants_that_any_more() {
        let settings =
            queue::Settings { free_octets_min: 0, free_files_min: 0, ..queue::Settings::default() };
        let (queue, _) =
            Queue::open(Arc::new(SimulatedDisk::new()), Path::new("/queue"), settings, None).unwrap();
        let looks = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&looks);
        let pause = Duration::from_millis(2);
        let dog = Watchdog::start_with(Log::discarding(), None, pause).unwrap();
        let watched = dog.watch_queue(ProgressWatch::new(queue, move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            true
        }));
        for _ in 0..5_000 {
            if looks.load(Ordering::SeqCst) > 4 {
                break;
            }
            std::thread::sleep(pause);
        }
        assert!(looks.load(Ordering::SeqCst) > 4, "again and again");
        drop(watched);
        assert_eq!(Arc::strong_count(&looks), 1, "nothing of it is kept");
    }
}
