//! From a destination to the servers that are tried for it, in their order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gatepost_smtp::client::Protocol;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use super::super::dns::Resolver;
use super::super::hop::tls::{Trust, Unusable};
use super::super::hop::{InsecureLogin, NextHop, TlsDemand};
use super::super::mx::{self, Host, Reach, Unroutable};
use super::super::route::{Destination, HopHost, Route, RouteTls};
use super::super::tls_policy::Policies;
use super::super::tls_policy::sts::Mode;
use super::Settings;

/// Why there is nobody to try. `Display` begins with an enhanced status code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTarget {
    /// The DNS has none.
    #[error(transparent)]
    Unroutable(#[from] Unroutable),
    /// None of its exchangers is one that its policy knows.
    #[error("4.7.5 no mail exchanger of {0} is in its MTA-STS policy")]
    NotInPolicy(String),
    /// What the route asks of TLS cannot be had: a mistake of the configuration that its check has let through, or of the
    /// library.
    #[error("4.3.5 this route cannot be used: {0}")]
    Route(String),
}

/// What targets are made from.
pub(super) struct Finder<'a> {
    pub(super) resolver: &'a dyn Resolver,
    pub(super) settings: &'a Settings,
    pub(super) roots: &'a Arc<RootCertStore>,
    pub(super) policies: &'a Policies,
}

// === impl NoTarget ===

impl NoTarget {
    pub(super) const fn is_permanent(&self) -> bool {
        match self {
            Self::Unroutable(why) => why.is_permanent(),
            Self::NotInPolicy(_) | Self::Route(_) => false,
        }
    }
}

impl From<Unusable> for NoTarget {
    fn from(error: Unusable) -> Self {
        Self::Route(error.to_string())
    }
}

impl From<InsecureLogin> for NoTarget {
    fn from(error: InsecureLogin) -> Self {
        Self::Route(error.to_string())
    }
}

// === impl Finder ===

impl Finder<'_> {
    /// At least one, and not more than are worth trying in one attempt.
    pub(super) async fn targets(&self, destination: &Destination) -> Result<Vec<NextHop>, NoTarget> {
        let mut targets = match destination {
            Destination::Domain(domain) => self.exchangers(domain).await?,
            Destination::Address(address) => vec![self.literal(*address)?],
            Destination::Route(route) => self.route(route).await?,
        };
        targets.truncate(TARGETS_MAX);
        Ok(targets)
    }

    async fn exchangers(&self, domain: &str) -> Result<Vec<NextHop>, NoTarget> {
        let Settings { ourselves, port, internal, .. } = self.settings;
        let reach = Reach { ourselves, port: *port, internal: *internal };
        let mut hosts = mx::hosts(self.resolver, domain, reach).await?;
        let mut tls = RouteTls::Opportunistic;
        if self.settings.mta_sts
            && let Some(policy) = self.policies.of(self.resolver, domain, *internal).await
        {
            let lists = |host: &Host| host.name.as_deref().is_some_and(|name| policy.lists(name));
            match policy.mode {
                Mode::Enforce => {
                    hosts.retain(lists);
                    tls = RouteTls::Verified;
                }
                Mode::Testing => {
                    for host in hosts.iter().filter(|host| !lists(host)) {
                        tracing::info!(
                            domain,
                            host = host.name,
                            "a mail exchanger is not in the policy, which is being tested"
                        );
                    }
                }
                Mode::None => {}
            }
        }
        if hosts.is_empty() {
            return Err(NoTarget::NotInPolicy(domain.to_owned()));
        }
        let mut targets = Vec::new();
        for host in &hosts {
            let name = host.name.as_deref().unwrap_or(domain);
            for address in &host.addresses {
                let socket = SocketAddr::new(*address, *port);
                let demand = self.demand(tls, Some(name), *address)?;
                targets.push(NextHop::new(name.to_owned(), socket, Protocol::Smtp, demand));
            }
        }
        Ok(targets)
    }

    fn literal(&self, address: IpAddr) -> Result<NextHop, NoTarget> {
        let Settings { ourselves, port, internal, .. } = self.settings;
        let socket = SocketAddr::new(address.to_canonical(), *port);
        let name = format!("[{address}]");
        if ourselves.listeners.contains(&socket) {
            return Err(Unroutable::Loop(name).into());
        }
        if !internal && !mx::is_public(address) {
            return Err(Unroutable::NotPublic(name).into());
        }
        let demand = self.demand(RouteTls::Opportunistic, None, address)?;
        Ok(NextHop::new(name, socket, Protocol::Smtp, demand))
    }

    /// Hops that were written down: private addresses are meant.
    async fn route(&self, route: &Route) -> Result<Vec<NextHop>, NoTarget> {
        let (mut targets, mut why_not) = (Vec::new(), None);
        for hop in &route.hops {
            let host = match &hop.host {
                HopHost::Address(address) => Host { name: None, addresses: vec![*address] },
                HopHost::Name(name) => match mx::written_host(self.resolver, name).await {
                    Ok(host) => host,
                    Err(error) => {
                        why_not = Some(error);
                        continue;
                    }
                },
            };
            for address in &host.addresses {
                let socket = SocketAddr::new(*address, hop.port);
                let name = host.name.clone().unwrap_or_else(|| format!("[{address}]"));
                let tls = self.demand(route.tls, host.name.as_deref(), *address)?;
                let target = NextHop::new(name, socket, route.protocol, tls);
                targets.push(match &route.login {
                    Some(login) => target.with_login(login.clone())?,
                    None => target,
                });
            }
        }
        match (targets.is_empty(), why_not) {
            (true, Some(why_not)) => Err(why_not.into()),
            (true, None) => Err(NoTarget::Route("it has no hops".to_owned())),
            (false, _) => Ok(targets),
        }
    }

    fn demand(&self, tls: RouteTls, name: Option<&str>, address: IpAddr) -> Result<TlsDemand, NoTarget> {
        let subject = match name {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_| NoTarget::Route(format!("{name:?} is no name that a certificate could have")))?,
            None => ServerName::IpAddress(address.into()),
        };
        let roots = || Arc::clone(self.roots);
        Ok(match tls {
            RouteTls::Never => TlsDemand::Never,
            RouteTls::Opportunistic => TlsDemand::Opportunistic,
            RouteTls::Encrypted => TlsDemand::StartTls(Trust::anyone(subject)?),
            RouteTls::Verified => TlsDemand::StartTls(Trust::authorities(roots(), subject)?),
            RouteTls::Implicit => TlsDemand::Implicit(Trust::authorities(roots(), subject)?),
        })
    }
}

/// More would keep a place of the destination for too long: the next attempt tries others of the same preference first.
const TARGETS_MAX: usize = 6;
