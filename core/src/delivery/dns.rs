//! What delivery asks the DNS.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};

use crate::BoxFuture;

/// Answers delivery's questions. Names are A-labels without a final dot.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The mail exchangers of a domain, in no order; none where the domain exists without any.
    fn mail_exchangers<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Exchanger>, Unresolved>>;

    /// The addresses of a host, of both families; none where it exists without any.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Unresolved>>;

    /// The texts of a name, each in one piece; none where it exists without any.
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>>;
}

/// An MX record (RFC 1035 section 3.3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanger {
    /// The lower, the sooner.
    pub preference: u16,
    /// Its name without the final dot; empty for the root, which says that there is none (RFC 7505).
    pub name: String,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// NXDOMAIN.
    #[error("there is no such name")]
    NoSuchName,
    /// SERVFAIL, a time-out, or an answer that cannot be read: ask again later.
    #[error("no name server answers")]
    NoAnswer,
}

/// The name servers of the configuration, or of this machine.
pub struct NameServers {
    resolver: TokioResolver,
}

// === impl NameServers ===

impl NameServers {
    /// Asks these servers, or those of `/etc/resolv.conf` where there are none. Must be called inside a tokio runtime; reads
    /// a file.
    ///
    /// # Errors
    /// `/etc/resolv.conf` cannot be used.
    pub fn new(servers: &[SocketAddr]) -> io::Result<Self> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(io::Error::other)?
        } else {
            let servers = servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        bound(builder.options_mut());
        Ok(Self { resolver: builder.build().map_err(io::Error::other)? })
    }
}

impl Resolver for NameServers {
    fn mail_exchangers<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Exchanger>, Unresolved>> {
        Box::pin(async move {
            let found = match self.resolver.mx_lookup(absolute(domain)).await {
                Ok(found) => found,
                Err(error) => return unresolved(domain, &error).map_or(Ok(Vec::new()), Err),
            };
            let exchangers = found.answers().iter().filter_map(|record| match &record.data {
                RData::MX(mx) => Some(Exchanger { preference: mx.preference, name: relative(&mx.exchange) }),
                _ => None,
            });
            Ok(exchangers.take(RECORDS_MAX).collect())
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Unresolved>> {
        Box::pin(async move {
            let name = absolute(host);
            let (v6, v4) =
                tokio::join!(self.resolver.ipv6_lookup(name.clone()), self.resolver.ipv4_lookup(name));
            let (mut addresses, mut failures) = (Vec::new(), Vec::new());
            for answer in [v6, v4] {
                match answer {
                    Ok(found) => {
                        let found = found.answers().iter().filter_map(|record| match &record.data {
                            RData::A(address) => Some(IpAddr::V4(address.0)),
                            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                            _ => None,
                        });
                        addresses.extend(found.take(RECORDS_MAX));
                    }
                    Err(error) => failures.extend(unresolved(host, &error)),
                }
            }
            // One family is enough to be reached by; a failure of the other one counts where there is nothing else.
            match (addresses.is_empty(), failures.contains(&Unresolved::NoAnswer), failures.first()) {
                (false, ..) => Ok(addresses),
                (true, true, _) => Err(Unresolved::NoAnswer),
                (true, false, Some(failure)) => Err(*failure),
                (true, false, None) => Ok(addresses),
            }
        })
    }

    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>> {
        Box::pin(self.text_records(name))
    }
}

impl NameServers {
    async fn text_records(&self, name: &str) -> Result<Vec<String>, Unresolved> {
        let found = match self.resolver.txt_lookup(absolute(name)).await {
            Ok(found) => found,
            Err(error) => return unresolved(name, &error).map_or(Ok(Vec::new()), Err),
        };
        let texts = found.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.take(RECORDS_MAX).collect())
    }
}

impl fmt::Debug for NameServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameServers(..)")
    }
}

/// The final dot keeps the resolver from trying the machine's own domain.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn relative(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

/// `None` where the name exists, but has nothing of this kind.
fn unresolved(name: &str, error: &NetError) -> Option<Unresolved> {
    if let NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) = error {
        match response_code {
            ResponseCode::NoError => return None,
            ResponseCode::NXDomain => return Some(Unresolved::NoSuchName),
            _ => {}
        }
    }
    tracing::debug!(name, %error, "the DNS does not answer");
    Some(Unresolved::NoAnswer)
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

fn bound(options: &mut ResolverOpts) {
    options.timeout = QUERY_TIME_MAX;
    options.attempts = QUERY_ATTEMPTS;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = CACHE_ANSWERS_MAX;
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
}

/// A recursive server may have to ask around.
const QUERY_TIME_MAX: Duration = Duration::from_secs(5);
/// A lost packet is no reason to put a mail off.
const QUERY_ATTEMPTS: usize = 2;
/// Some 8 MiB at the most.
const CACHE_ANSWERS_MAX: u64 = 8192;
/// Who moves his mail host is followed within the hour.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// A domain that was just set up should not wait long for its first mail.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(300);
/// More than any sane domain has; what follows is not looked at.
const RECORDS_MAX: usize = 100;
