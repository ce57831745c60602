//! Whether DANE can be had: a proof needs name servers that hand out signatures, which not all do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::dns::Resolver;

/// Whether DANE is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dane {
    /// No host is asked for TLSA records.
    Never,
    /// From when on the name servers have been seen to hand out a proof. Without one, everything would fail to be proven,
    /// and no mail would leave.
    #[default]
    WhereProven,
    /// Without a proof there is no answer, and mail waits.
    Always,
}

/// The resolver that checks signatures, and whether there are any.
#[derive(Debug)]
pub(super) struct Prover {
    resolver: Arc<dyn Resolver>,
    known: Mutex<Known>,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Nothing,
    /// It stays so: nobody who gets in between can talk us out of it by leaving signatures out.
    Able,
    UnableUntil(Instant),
}

// === impl Prover ===

impl Prover {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, known: Mutex::new(Known::Nothing) }
    }

    /// Who is to be asked for the way to a domain, where answers shall be proven.
    pub(super) async fn resolver(&self, wanted: Dane) -> Option<&dyn Resolver> {
        let is_used = match wanted {
            Dane::Never => false,
            Dane::WhereProven => self.is_able().await,
            Dane::Always => true,
        };
        is_used.then_some(&*self.resolver)
    }

    async fn is_able(&self) -> bool {
        let mut known = self.known.lock().await;
        match *known {
            Known::Able => return true,
            Known::UnableUntil(until) if until > Instant::now() => return false,
            Known::Nothing | Known::UnableUntil(_) => {}
        }
        let is_able = self.resolver.proves().await;
        match (is_able, *known) {
            (true, _) => info!("the name servers hand out DNSSEC signatures: DANE is used"),
            (false, Known::UnableUntil(_)) => {}
            (false, _) => {
                warn!(
                    "the name servers hand out no DNSSEC signatures that hold: DANE is not used until they do"
                );
            }
        }
        let now = Instant::now();
        *known =
            if is_able { Known::Able } else { Known::UnableUntil(now.checked_add(PAUSE).unwrap_or(now)) };
        is_able
    }
}

/// Between two questions to name servers that have no signatures.
const PAUSE: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::super::super::dns::{Addresses, Exchangers, Unresolved};
    use super::super::super::tls_policy::dane::Tlsa;
    use super::*;
    use crate::BoxFuture;

    #[derive(Debug, Default)]
    struct Root {
        is_signed: AtomicBool,
        asked: AtomicUsize,
    }

    impl Resolver for Root {
        fn mail_exchangers<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Exchangers, Unresolved>> {
            Box::pin(async { Ok(Exchangers::default()) })
        }

        fn addresses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Addresses, Unresolved>> {
            Box::pin(async { Ok(Addresses::default()) })
        }

        fn texts<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn tlsa<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, Unresolved>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn proves(&self) -> BoxFuture<'_, bool> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { self.is_signed.load(Ordering::SeqCst) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dane_begins_with_the_first_proof_and_does_not_end_with_the_last() {
        let root = Arc::new(Root::default());
        let prover = Prover::new(root.clone());
        let asked = || root.asked.load(Ordering::SeqCst);
        assert!(prover.resolver(Dane::Never).await.is_none());
        assert!(prover.resolver(Dane::Always).await.is_some());
        assert_eq!(asked(), 0);
        for _ in 0..2 {
            assert!(prover.resolver(Dane::WhereProven).await.is_none());
        }
        assert_eq!(asked(), 1, "not for each mail");
        root.is_signed.store(true, Ordering::SeqCst);
        tokio::time::advance(PAUSE).await;
        assert!(prover.resolver(Dane::WhereProven).await.is_some());
        root.is_signed.store(false, Ordering::SeqCst);
        tokio::time::advance(PAUSE * 2).await;
        assert!(prover.resolver(Dane::WhereProven).await.is_some());
        assert_eq!(asked(), 2);
    }
}
