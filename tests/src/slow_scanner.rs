//! An ICAP server that takes as long for some items as a test wants, and learns what a test tells it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::icap_service::{self, Said, Service};

/// A running one. Dropped, it lets go what it holds up.
#[derive(Debug)]
pub struct SlowScanner {
    port: u16,
    desk: Arc<Desk>,
}

/// Items with this word in them wait while the scanner is busy.
pub const SLOW: &str = "TAKES-ITS-TIME";
/// Items with this word in them are counted.
pub const COUNTED: &str = "EACH-LOOK-COUNTS";

#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_busy: bool,
    /// Items that wait.
    held: usize,
    /// Items with the word `COUNTED` that were given to it.
    counted: usize,
    /// Texts, of which the number is the version of its signatures.
    known: Vec<String>,
}

// === impl SlowScanner ===

impl SlowScanner {
    /// Starts it; it is not busy, and knows no virus.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start() -> Self {
        let desk = Arc::new(Desk::default());
        Self { port: icap_service::start(&desk), desk }
    }

    /// The server's settings that have it asked.
    #[must_use]
    pub fn engine(&self) -> String {
        let port = self.port;
        format!(
            "[[scan.engine]]\ntype = \"icap\"\nname = \"slow\"\naddress = \"127.0.0.1:{port}\"\nservice = \"slow\"\n"
        )
    }

    /// Has items with the word `SLOW` wait from now on.
    pub fn be_busy(&self) {
        self.desk.lock().is_busy = true;
    }

    /// Has nothing wait any longer.
    pub fn go_on(&self) {
        self.desk.lock().is_busy = false;
        self.desk.changed.notify_all();
    }

    /// How many items wait with it now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.desk.lock().held
    }

    /// How often it was given an item with the word `COUNTED`.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.desk.lock().counted
    }

    /// Knows another virus from now on, which makes its signatures new.
    pub fn learn(&self, text: &str) {
        self.desk.lock().known.push(text.to_owned());
    }
}

impl Drop for SlowScanner {
    fn drop(&mut self) {
        self.go_on();
    }
}

// === impl Desk ===

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread has panicked")
    }
}

impl Service for Desk {
    fn tag(&self) -> String {
        format!("slow-{}", self.lock().known.len())
    }

    fn look(&self, item: Vec<u8>) -> Said {
        let has = |text: &str| item.windows(text.len()).any(|window| window == text.as_bytes());
        let mut state = self.lock();
        if has(COUNTED) {
            state.counted += 1;
        }
        if has(SLOW) {
            state.held += 1;
            state = self.changed.wait_while(state, |state| state.is_busy).expect("no thread has panicked");
            state.held -= 1;
        }
        if state.known.iter().any(|text| has(text)) { Said::Infected("Learned") } else { Said::Clean }
    }
}
