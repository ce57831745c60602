//! What delivery asks the DNS.
//!
//! Answers say whether DNSSEC proves them. That is never taken from a name server's word (the AD bit): those that validate
//! check every signature themselves, from the trust anchor down (`proof`).

mod proof;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use self::proof::Answer;
use super::tls_policy::dane::Tlsa;
use crate::BoxFuture;

/// Answers delivery's questions. Names are A-labels without a final dot.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The mail exchangers of a domain, in no order; none where the domain exists without any.
    fn mail_exchangers<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Exchangers, Unresolved>>;

    /// The addresses of a host, of both families; none where it exists without any.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Addresses, Unresolved>>;

    /// The texts of a name, each in one piece; none where it exists without any.
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>>;

    /// The TLSA records of a name that DNSSEC proves; none where there are none, or none that are proven.
    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, Unresolved>>;

    /// Whether the name servers hand out what a proof needs: that of the root's own keys stands.
    fn proves(&self) -> BoxFuture<'_, bool>;
}

/// The mail exchangers of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchangers {
    /// In no order.
    pub records: Vec<Exchanger>,
    /// Whether DNSSEC proves that these, and no others, are meant.
    pub is_proven: bool,
}

/// The addresses of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of both families.
    pub addresses: Vec<IpAddr>,
    /// Under which names the host may have TLSA records, in the order in which they are asked for (RFC 7672 section
    /// 2.2.3): where its aliases lead to, then its own name; only what DNSSEC proves.
    pub tlsa_bases: Vec<String>,
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
    /// An answer whose DNSSEC signatures do not hold, or that should have some: ask again later.
    #[error("the answer fails DNSSEC validation")]
    Bogus,
}

/// The name servers of the configuration, or of this machine.
pub struct NameServers {
    resolver: TokioResolver,
}

/// The keys that all proofs begin with.
#[derive(Clone, Default)]
pub struct TrustAnchor(Option<Arc<TrustAnchors>>);

// === impl TrustAnchor ===

impl TrustAnchor {
    /// The keys of a file of DNSKEY records, as zone files have them, instead of those of the root (`default`).
    ///
    /// # Errors
    /// It cannot be read, or has no key.
    pub fn load(path: &Path) -> io::Result<Self> {
        let anchors = TrustAnchors::from_file(path).map_err(io::Error::other)?;
        if anchors.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no DNSKEY of the root in it"));
        }
        Ok(Self(Some(Arc::new(anchors))))
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "TrustAnchor(of a file)" } else { "TrustAnchor(the root's)" })
    }
}

// === impl NameServers ===

impl NameServers {
    /// Asks these servers, or those of `/etc/resolv.conf` where there are none, and proves nothing. Must be called inside a
    /// tokio runtime; reads a file.
    ///
    /// # Errors
    /// `/etc/resolv.conf` cannot be used.
    pub fn new(servers: &[SocketAddr]) -> io::Result<Self> {
        Self::open(servers, None)
    }

    /// The same, but checks the signatures of every answer: what fails is no answer.
    ///
    /// # Errors
    /// `/etc/resolv.conf` cannot be used.
    pub fn validating(servers: &[SocketAddr], anchor: &TrustAnchor) -> io::Result<Self> {
        Self::open(servers, Some(anchor))
    }

    fn open(servers: &[SocketAddr], anchor: Option<&TrustAnchor>) -> io::Result<Self> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(io::Error::other)?
        } else {
            let servers = servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        bound(builder.options_mut());
        if let Some(anchor) = anchor {
            let options = builder.options_mut();
            options.validate = true;
            options.edns0 = true;
            if let TrustAnchor(Some(anchors)) = anchor {
                builder = builder.with_trust_anchor(Arc::clone(anchors));
            }
        }
        Ok(Self { resolver: builder.build().map_err(io::Error::other)? })
    }

    async fn ask(&self, name: &str, wanted: RecordType) -> Result<Answer, Unresolved> {
        proof::ask(&self.resolver, name, wanted).await
    }
}

impl Resolver for NameServers {
    fn mail_exchangers<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Exchangers, Unresolved>> {
        Box::pin(async move {
            let answer = self.ask(domain, RecordType::MX).await?;
            let exchangers = answer.data.iter().filter_map(|data| match data {
                RData::MX(mx) => Some(Exchanger { preference: mx.preference, name: relative(&mx.exchange) }),
                _ => None,
            });
            Ok(Exchangers { records: exchangers.take(RECORDS_MAX).collect(), is_proven: answer.is_proven })
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Addresses, Unresolved>> {
        Box::pin(async move {
            let (v6, v4) = tokio::join!(self.ask(host, RecordType::AAAA), self.ask(host, RecordType::A));
            let (mut addresses, mut failures) = (Vec::new(), Vec::new());
            // A family without addresses says nothing about those of the other one.
            let mut bases: Option<Vec<String>> = None;
            for answer in [v6, v4] {
                match answer {
                    Ok(answer) => {
                        let before = addresses.len();
                        let found = answer.data.iter().filter_map(|data| match data {
                            RData::A(address) => Some(IpAddr::V4(address.0)),
                            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                            _ => None,
                        });
                        addresses.extend(found.take(RECORDS_MAX));
                        if addresses.len() > before {
                            let these = answer.tlsa_bases(host);
                            bases = Some(bases.map_or(these.clone(), |known| common(known, &these)));
                        }
                    }
                    Err(failure) => failures.push(failure),
                }
            }
            let is_open = |failure: &&Unresolved| **failure != Unresolved::NoSuchName;
            // One family is enough to be reached by; a failure of the other one counts where there is nothing else.
            match (addresses.is_empty(), failures.iter().find(is_open).or(failures.first())) {
                (true, Some(failure)) => Err(*failure),
                _ => Ok(Addresses { addresses, tlsa_bases: bases.unwrap_or_default() }),
            }
        })
    }

    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, Unresolved>> {
        Box::pin(async move {
            let answer = self.ask(name, RecordType::TXT).await?;
            let texts = answer.data.iter().filter_map(|data| match data {
                RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
                _ => None,
            });
            Ok(texts.take(RECORDS_MAX).collect())
        })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Tlsa>, Unresolved>> {
        Box::pin(async move {
            let answer = match self.ask(name, RecordType::TLSA).await {
                Ok(answer) if answer.is_proven => answer,
                Ok(_) | Err(Unresolved::NoSuchName) => return Ok(Vec::new()),
                Err(failure) => return Err(failure),
            };
            let records = answer.data.iter().filter_map(|data| match data {
                RData::TLSA(tlsa) => Some(Tlsa {
                    usage: tlsa.cert_usage.into(),
                    selector: tlsa.selector.into(),
                    matching: tlsa.matching.into(),
                    data: tlsa.cert_data.clone(),
                }),
                _ => None,
            });
            Ok(records.take(RECORDS_MAX).collect())
        })
    }

    fn proves(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let answer = self.ask("", RecordType::DNSKEY).await;
            answer.is_ok_and(|answer| answer.is_proven && !answer.data.is_empty())
        })
    }
}

impl fmt::Debug for NameServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameServers(..)")
    }
}

fn relative(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

/// What both have, in the order of the first.
fn common(mut these: Vec<String>, those: &[String]) -> Vec<String> {
    these.retain(|name| those.contains(name));
    these
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
    // The way to an address counts as well, alias by alias.
    options.preserve_intermediates = true;
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
