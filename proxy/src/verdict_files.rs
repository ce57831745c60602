//! The scan engines, and what has what they say of items written now and then, for the next run.

use std::sync::Arc;
use std::time::Duration;

use gatepost_core::scan::Ensemble;
use tokio::task::{AbortHandle, spawn_blocking};

/// Engines whose verdicts are written as long as this lives, and when it is closed.
#[derive(Debug)]
pub(crate) struct VerdictFiles {
    engines: Arc<Ensemble>,
    task: AbortHandle,
}

// === impl VerdictFiles ===

impl VerdictFiles {
    /// Must be called inside a tokio runtime.
    pub(crate) fn keep(engines: Arc<Ensemble>) -> Self {
        let task = tokio::spawn(keep(Arc::clone(&engines))).abort_handle();
        Self { engines, task }
    }

    /// The engines.
    pub(crate) fn engines(&self) -> Arc<Ensemble> {
        Arc::clone(&self.engines)
    }

    /// Writes for the last time.
    pub(crate) async fn close(self) {
        self.task.abort();
        write(Arc::clone(&self.engines)).await;
    }
}

impl Drop for VerdictFiles {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(engines: Arc<Ensemble>) {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        write(Arc::clone(&engines)).await;
    }
}

async fn write(engines: Arc<Ensemble>) {
    // A panic would have been told by its hook; there is nothing to mend here.
    let _ = spawn_blocking(move || engines.keep()).await;
}

/// What a crash may cost. A full file has 3.6 MiB and is written whole: a gigabyte a day, where there is always something new.
const WRITE_EVERY: Duration = Duration::from_secs(300);
