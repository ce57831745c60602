//! Threads for blocking file work.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::threads;

/// A fixed number of threads with a bounded queue before them. Cheap to clone; the threads end with the last clone.
#[derive(Debug, Clone)]
pub struct IoPool {
    jobs: mpsc::Sender<Job>,
}

/// A value with a thread of its own, on which one job at a time works on it. Cheap to clone; the thread ends with the last clone.
#[derive(Debug)]
pub struct Worked<T> {
    value: Arc<Mutex<T>>,
    pool: IoPool,
}

type Job = Box<dyn FnOnce() + Send>;

// === impl IoPool ===

impl IoPool {
    /// Starts `threads` threads named `name`.
    ///
    /// # Errors
    /// The operating system's, where it refuses a thread.
    pub fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>(JOBS_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            threads::spawn(name, move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Runs a job on one of the threads and waits for its result, first for a place in the queue. A job that has got
    /// its place runs to its end even where nobody waits for it any more.
    ///
    /// # Errors
    /// `BrokenPipe` where the job panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (reply, result) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody may be waiting any more: then the result is dropped here, on this thread.
            let _unheard = reply.send(job());
        });
        self.jobs.send(job).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        result.await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Runs a job on one of the threads and does not wait. Where the queue is full it runs on the caller's thread:
    /// that is what destructors need, which can neither wait nor give up.
    pub fn detach(&self, job: impl FnOnce() + Send + 'static) {
        if let Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) =
            self.jobs.try_send(Box::new(job))
        {
            job();
        }
    }
}

// === impl Worked ===

impl<T: Send + 'static> Worked<T> {
    /// Starts the thread, named `name`.
    ///
    /// # Errors
    /// The operating system's, where it refuses a thread.
    pub fn start(name: &str, value: T) -> io::Result<Self> {
        Ok(Self { value: Arc::new(Mutex::new(value)), pool: IoPool::start(name, 1)? })
    }

    /// Runs a job on the value and waits for its result. A job that panics leaves the value as it is at that moment.
    ///
    /// # Errors
    /// `BrokenPipe` where the job panicked.
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> io::Result<R> {
        let value = Arc::clone(&self.value);
        self.pool.run(move || work(&mut value.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

impl<T> Clone for Worked<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), pool: self.pool.clone() }
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return };
        // A job that panics costs its own result, not the thread that the others wait for.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a job of the file pool panicked");
        }
    }
}

/// Waiting jobs. Each may hold a part of a body (256 KiB and a socket buffer): 64 of them are 20 MiB.
const JOBS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_costs_only_its_own_result() {
        let pool = IoPool::start("test-io", 1).unwrap();
        let failed = pool.run(|| -> u8 { panic!("on purpose") }).await;
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_detached_job_runs() {
        let pool = IoPool::start("test-io", 1).unwrap();
        let (done, wait) = oneshot::channel();
        pool.detach(move || done.send(3).unwrap());
        assert_eq!(wait.await.unwrap(), 3);
    }
}
