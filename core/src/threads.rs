//! The threads of the rooms, and a watch on their starts.
//!
//! What confines a thread (seccomp, landlock, capabilities) is inherited from the thread that spawned it, so a single
//! thread that slipped out would be a hole for good. Every thread of a room is therefore spawned here, where it can be
//! tested before it does any work.

use std::io;
use std::sync::OnceLock;
use std::thread;

/// Is told of every thread of the process's rooms.
pub trait Watch: Send + Sync + 'static {
    /// A thread is about to be spawned: `started` will follow. Called on the thread that spawns it.
    fn expected(&self);
    /// It was not spawned after all.
    fn missing(&self);
    /// It runs, and has not worked yet. Called on the new thread.
    fn started(&self);
}

/// Watches all threads that are spawned from now on. There can be one watch a process, since what it tests (the
/// confinement of the process) is one a process too; `false` where there is another already.
pub fn watch(watch: impl Watch) -> bool {
    WATCH.set(Box::new(watch)).is_ok()
}

/// Spawns a thread that nobody joins. `name` is cut to 15 octets by the kernel.
///
/// # Errors
/// The operating system refuses a thread.
pub fn spawn(name: impl Into<String>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let watch = WATCH.get();
    if let Some(watch) = watch {
        watch.expected();
    }
    let spawned = thread::Builder::new().name(name.into()).spawn(move || {
        if let Some(watch) = watch {
            watch.started();
        }
        let _obituary = Obituary;
        work();
    });
    if let (Err(_), Some(watch)) = (&spawned, watch) {
        watch.missing();
    }
    spawned.map(drop)
}

/// Says that a thread ended in the middle of its work. Whoever waits for it learns only that it is closed.
struct Obituary;

impl Drop for Obituary {
    fn drop(&mut self) {
        if thread::panicking() {
            let thread = thread::current();
            tracing::error!(
                thread = thread.name(),
                "a thread died of a panic: what it served stays closed until a restart"
            );
        }
    }
}

static WATCH: OnceLock<Box<dyn Watch>> = OnceLock::new();

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::sync::mpsc;

    use super::*;

    struct Counts(Arc<AtomicI32>, Arc<AtomicI32>);

    impl Watch for Counts {
        fn expected(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        fn missing(&self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
        fn started(&self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The only test here that sets the watch of the process; nextest gives each test one of its own.
    #[test]
    fn a_thread_is_announced_and_tested_before_it_works() {
        let (expected, started) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicI32::new(0)));
        assert!(watch(Counts(Arc::clone(&expected), Arc::clone(&started))));
        assert!(!watch(Counts(Arc::default(), Arc::default())), "there is one watch");
        let before = started.load(Ordering::SeqCst);
        let (sender, receiver) = mpsc::channel();
        let seen = Arc::clone(&started);
        spawn("tested", move || sender.send(seen.load(Ordering::SeqCst)).unwrap()).unwrap();
        assert!(receiver.recv().unwrap() > before, "the watch came before the work");
        assert!(expected.load(Ordering::SeqCst) >= 1);
    }
}
