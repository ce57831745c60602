//! Tells those who wait what became of their work.
//!
//! Waking a task from a thread outside the runtime takes a lock that all such threads share, and often a system call to
//! rouse a worker of the runtime; waking it from inside takes neither. So the writer wakes one task a batch, which
//! wakes the others.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use super::AppendError;

/// Where somebody waits.
pub(super) type Reply = oneshot::Sender<Result<(), AppendError>>;

/// The writer's end.
pub(super) struct Teller {
    /// `None` outside a runtime: then the writer wakes everybody itself.
    inside: Option<mpsc::UnboundedSender<Told>>,
}

/// What became of a batch. Told when it is dropped, so that no way of ending leaves anybody waiting.
pub(super) struct Told(Vec<(Reply, Result<(), AppendError>)>);

// === impl Teller ===

impl Teller {
    /// One whose task runs in the runtime that this is called in. A runtime with one thread may stand still between calls,
    /// and would tell nobody then.
    pub(super) fn start() -> Self {
        let runtime = Handle::try_current().ok();
        let runtime = runtime.filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        let inside = runtime.map(|runtime| {
            // As many wait as sessions do, and the writer must not wait for any of them.
            let (sender, mut batches) = mpsc::unbounded_channel();
            runtime.spawn(async move { while batches.recv().await.is_some() {} });
            sender
        });
        Self { inside }
    }

    pub(super) fn tell(&self, told: Told) {
        if let Some(inside) = &self.inside {
            // An error means that the runtime has ended, and hands the batch back to be told here.
            let _told_here = inside.send(told);
        }
    }
}

// === impl Told ===

impl FromIterator<(Reply, Result<(), AppendError>)> for Told {
    fn from_iter<T: IntoIterator<Item = (Reply, Result<(), AppendError>)>>(replies: T) -> Self {
        Self(replies.into_iter().collect())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        for (reply, result) in self.0.drain(..) {
            // A session that is gone meanwhile does not hear that its mail was taken: the window that SMTP leaves.
            let _unheard = reply.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> (Told, Vec<oneshot::Receiver<Result<(), AppendError>>>) {
        let (replies, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        let results = [Ok(()), Err(AppendError::Full), Ok(())];
        (replies.into_iter().zip(results).collect(), receivers)
    }

    async fn heard(receivers: Vec<oneshot::Receiver<Result<(), AppendError>>>) {
        let mut heard = Vec::new();
        for receiver in receivers {
            heard.push(receiver.await.unwrap());
        }
        assert_eq!(heard, [Ok(()), Err(AppendError::Full), Ok(())]);
    }

    #[test]
    fn all_hear_what_became_of_their_work_whether_or_not_there_is_a_runtime() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let inside = runtime.block_on(async { Teller::start() });
        assert!(inside.inside.is_some());
        for teller in [&inside, &Teller::start()] {
            let (told, receivers) = batch();
            teller.tell(told);
            runtime.block_on(heard(receivers));
        }
        // What the runtime leaves behind when it ends is told all the same.
        drop(runtime);
        let (told, receivers) = batch();
        inside.tell(told);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(heard(receivers));
    }
}
