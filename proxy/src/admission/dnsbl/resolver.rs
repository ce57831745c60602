//! Asks a name server. The cache is the resolver library's own.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use gatepost_core::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

/// Finds the IPv4 addresses of a name.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// None where the name does not exist or has none.
    fn addresses(&self, name: String) -> BoxFuture<'_, Result<Vec<Ipv4Addr>, Unanswered>>;
}

/// No name server has answered, or not with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer")]
pub struct Unanswered;

/// The name servers of the configuration, or of this machine.
pub struct SystemResolver(TokioResolver);

/// There are no name servers to ask.
#[derive(Debug, thiserror::Error)]
#[error("the name servers of /etc/resolv.conf cannot be used: {0}")]
pub struct UnusableResolver(NetError);

// === impl SystemResolver ===

impl SystemResolver {
    /// Asks these servers, or those of `/etc/resolv.conf` where there are none. `timeout` is what a whole lookup may take.
    /// Must be called inside a tokio runtime; reads a file.
    ///
    /// # Errors
    /// `/etc/resolv.conf` cannot be used.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, UnusableResolver> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(UnusableResolver)?
        } else {
            let servers = servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        bound(builder.options_mut(), timeout);
        builder.build().map(Self).map_err(UnusableResolver)
    }
}

impl Resolver for SystemResolver {
    fn addresses(&self, name: String) -> BoxFuture<'_, Result<Vec<Ipv4Addr>, Unanswered>> {
        Box::pin(async move {
            match self.0.ipv4_lookup(name).await {
                Ok(found) => Ok(found
                    .answers()
                    .iter()
                    .filter_map(|record| match record.data {
                        RData::A(address) => Some(address.0),
                        _ => None,
                    })
                    .collect()),
                Err(error) if error.is_no_records_found() => Ok(Vec::new()),
                Err(error) => {
                    tracing::debug!(%error, "a block list does not answer");
                    Err(Unanswered)
                }
            }
        })
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemResolver(..)")
    }
}

/// TCP is for answers that were cut.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn bound(options: &mut ResolverOpts, timeout: Duration) {
    // A lost packet is sent again before the list's time is over.
    options.timeout = timeout.checked_div(2).unwrap_or(timeout);
    options.attempts = 1;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = CACHE_ANSWERS_MAX;
    options.positive_min_ttl = Some(TTL_MIN);
    options.negative_min_ttl = Some(TTL_MIN);
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_max_ttl = Some(TTL_MAX);
}

/// Some 8 MiB at the most.
const CACHE_ANSWERS_MAX: u64 = 8192;
/// A peer that comes again at once is not asked for again, whatever the list says.
const TTL_MIN: Duration = Duration::from_secs(60);
/// Who has been taken off a list, or put on it, is treated so within the hour.
const TTL_MAX: Duration = Duration::from_secs(3600);
