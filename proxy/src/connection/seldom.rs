//! Waiting for what hardly ever comes beside what always does.
//!
//! A task is woken for each octet of its peers. Who polls everything at each of these occasions takes the locks of all of it,
//! and some of them all sessions share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Says when some futures are to be polled: at first, and then where one of them has asked for it.
#[derive(Debug)]
pub(super) struct Seldom {
    bell: Arc<Bell>,
    /// Rings it.
    ringer: Waker,
    /// Whom it wakes, as the bell knows it.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

// === impl Seldom ===

impl Seldom {
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(true), task: Mutex::default() });
        Self { ringer: Waker::from(Arc::clone(&bell)), bell, task: None }
    }

    /// Where it is time to poll: what to poll all of the futures with.
    pub(super) fn occasion(&mut self, context: &Context<'_>) -> Option<Context<'_>> {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            self.task = Some(context.waker().clone());
            self.bell.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.task);
        }
        // Only now: a ring that has not met this task is seen here, and any later one wakes it.
        let is_time =
            self.bell.has_rung.load(Ordering::Relaxed) && self.bell.has_rung.swap(false, Ordering::AcqRel);
        is_time.then(|| Context::from_waker(&self.ringer))
    }
}

// === impl Bell ===

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::sync::{Notify, mpsc};

    use super::*;

    #[tokio::test]
    async fn what_seldom_comes_is_polled_at_first_and_when_it_has_come() {
        let (often, mut coming) = mpsc::unbounded_channel();
        let seldom = Arc::new(Notify::new());
        let rung = Arc::clone(&seldom);
        let waiting = tokio::spawn(async move {
            let mut notified = pin!(rung.notified());
            let (mut seldom, mut polls, mut woken) = (Seldom::new(), 0, 0);
            poll_fn(|context| {
                if let Some(mut occasion) = seldom.occasion(context) {
                    polls += 1;
                    if notified.as_mut().poll(&mut occasion).is_ready() {
                        return Poll::Ready(());
                    }
                }
                while let Poll::Ready(Some(())) = coming.poll_recv(context) {
                    woken += 1;
                }
                Poll::Pending
            })
            .await;
            (polls, woken)
        });
        for _ in 0..10 {
            often.send(()).unwrap();
            tokio::task::yield_now().await;
        }
        seldom.notify_one();
        assert_eq!(waiting.await.unwrap(), (2, 10));
    }

    #[tokio::test]
    async fn a_ring_before_the_first_poll_of_another_task_is_heard() {
        let mut seldom = Seldom::new();
        poll_fn(|context| {
            assert!(seldom.occasion(context).is_some() && seldom.occasion(context).is_none());
            Poll::Ready(())
        })
        .await;
        seldom.ringer.wake_by_ref();
        let heard = tokio::spawn(poll_fn(move |context| Poll::Ready(seldom.occasion(context).is_some())));
        assert!(heard.await.unwrap());
    }
}
