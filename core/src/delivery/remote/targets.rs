//! From a destination to the servers that are tried for it, in their order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gatepost_smtp::client::Protocol;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use super::super::dns::{Resolver, Unresolved};
use super::super::hop::tls::{Trust, Unusable};
use super::super::hop::{InsecureLogin, NextHop, TlsDemand};
use super::super::mx::{self, Host, Unroutable};
use super::super::reach::{Reach, is_public};
use super::super::route::{Destination, HopHost, Route, RouteTls};
use super::super::tls_policy::dane::Association;
use super::super::tls_policy::sts::{Mode, Policy};
use super::super::tls_policy::{Applied, Demands, Policies, PolicyKind};
use super::Settings;
use super::hops::{self, HopHealth};
use super::prover::{Dane, Prover};
use super::tls_results::TlsResults;
use super::tls_wish::TlsWish;

/// Why there is nobody to try. `Display` begins with an enhanced status code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTarget {
    /// The DNS has none.
    #[error(transparent)]
    Unroutable(#[from] Unroutable),
    /// Nobody can tell now what its exchangers must show.
    #[error("4.7.5 the TLSA records of {0} cannot be had: {1}")]
    NoTlsa(String, Unresolved),
    /// The sender asks for proven servers, and nobody vouches for these.
    #[error(
        "5.7.30 neither DNSSEC nor MTA-STS vouches for the mail exchangers of {0}, as REQUIRETLS needs it"
    )]
    NotVouchedFor(String),
    /// The same, but nobody can tell now.
    #[error("4.7.5 whether DNSSEC or MTA-STS vouches for the mail exchangers of {0} cannot be told now")]
    VouchersUnknown(String),
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
    pub(super) health: &'a HopHealth,
    pub(super) policies: &'a Policies,
    pub(super) prover: &'a Prover,
    /// What the sender asks for.
    pub(super) wish: TlsWish,
    /// Told of hosts that may not be tried.
    pub(super) results: TlsResults<'a>,
}

// === impl NoTarget ===

impl NoTarget {
    pub(super) const fn is_permanent(&self) -> bool {
        match self {
            Self::Unroutable(why) => why.is_permanent(),
            Self::NotVouchedFor(_) => true,
            Self::NoTlsa(..) | Self::VouchersUnknown(_) | Self::NotInPolicy(_) | Self::Route(_) => false,
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

    /// Each host goes by its own TLSA records, where it has some; the others by the domain's policy (RFC 8461 section 2).
    async fn exchangers(&self, domain: &str) -> Result<Vec<NextHop>, NoTarget> {
        let Settings { ourselves, port, internal, .. } = self.settings;
        let is_waived = self.wish == TlsWish::Waived;
        let dane = if is_waived { Dane::Never } else { self.settings.dane };
        let reach = Reach { ourselves, port: *port, internal: *internal };
        let proving = self.prover.resolver(dane).await;
        let lacks_proofs = dane != Dane::Never && proving.is_none();
        let resolver = proving.unwrap_or(self.resolver);
        let (mut hosts, mut why_not) = (Vec::new(), None);
        for host in mx::hosts(resolver, domain, reach).await? {
            match association(resolver, &host, *port).await {
                Ok(association) => hosts.push((host, association)),
                // Whoever can keep these records from us must not get the mail for it (RFC 7672 section 2.1.1).
                Err(why) => {
                    let name = host.name.unwrap_or_else(|| domain.to_owned());
                    self.results.unproven(domain, &name, &why.to_string());
                    tracing::info!(domain, host = name, %why, "a mail exchanger's TLSA records cannot be had");
                    why_not = Some(NoTarget::NoTlsa(name, why));
                }
            }
        }
        let is_asked =
            self.settings.mta_sts && !is_waived && hosts.iter().any(|(_, association)| association.is_none());
        let demands = if is_asked {
            self.policies.of(self.resolver, domain, *internal).await
        } else {
            Demands::default()
        };
        self.results.unfetched(domain, &demands);
        let policy = demands.policy;
        let mut targets = Vec::new();
        for (host, association) in &hosts {
            let applied = match association {
                Some(association) => Some(self.by_dane(domain, host, association)?),
                None => self.by_policy(domain, host, policy.as_deref())?,
            };
            let Some(demand) = applied else { continue };
            let demand = match self.wish {
                TlsWish::Required if !demand.is_verified() => {
                    let is_listed = policy.as_deref().is_some_and(|policy| lists(policy, host));
                    if host.tlsa_bases.is_empty() && !is_listed {
                        why_not.get_or_insert(NoTarget::NotVouchedFor(domain.to_owned()));
                        continue;
                    }
                    self.by_name(host.name.as_deref().unwrap_or(domain))?
                }
                _ => demand,
            };
            let name = host.name.as_deref().unwrap_or(domain);
            let applied = Arc::new(Applied::of(domain, host, association.as_ref(), policy.as_deref()));
            // What is tested is reported, and mail goes on as without it (RFC 8461 section 5).
            let is_tested = applied.kind == PolicyKind::MtaSts && matches!(demand, TlsDemand::Opportunistic);
            let is_tested = is_tested && self.results.are_noted();
            let tested = if is_tested { Some(self.trust(name)?) } else { None };
            targets.extend(host.addresses.iter().map(|address| {
                let socket = SocketAddr::new(*address, *port);
                let target = NextHop::new(name.to_owned(), socket, Protocol::Smtp, demand.clone());
                target.under_policy(Arc::clone(&applied)).trying_first(tested.clone())
            }));
        }
        match (targets.is_empty(), why_not) {
            (false, _) => Ok(targets),
            (true, Some(NoTarget::NotVouchedFor(domain))) => {
                let is_open =
                    lacks_proofs || (is_asked && !self.policies.is_sure_of(self.resolver, &domain).await);
                Err(if is_open { NoTarget::VouchersUnknown(domain) } else { NoTarget::NotVouchedFor(domain) })
            }
            (true, Some(why_not)) => Err(why_not),
            (true, None) => Err(NoTarget::NotInPolicy(domain.to_owned())),
        }
    }

    fn by_dane(&self, domain: &str, host: &Host, association: &Association) -> Result<TlsDemand, NoTarget> {
        let names = [domain, host.name.as_deref().unwrap_or(domain)];
        let subject = subject(&association.base)?;
        Ok(TlsDemand::StartTls(Trust::dane(association, &names, subject)?))
    }

    /// `None`: nothing may be sent to this host.
    fn by_policy(
        &self,
        domain: &str,
        host: &Host,
        policy: Option<&Policy>,
    ) -> Result<Option<TlsDemand>, NoTarget> {
        let name = host.name.as_deref().unwrap_or(domain);
        let is_listed = policy.is_none_or(|policy| policy.lists(name));
        match policy.map(|policy| policy.mode) {
            Some(Mode::Enforce) if !is_listed => {
                policy.inspect(|policy| self.results.unlisted(domain, name, policy));
                Ok(None)
            }
            Some(Mode::Enforce) => Ok(Some(self.by_name(name)?)),
            Some(Mode::Testing) => {
                if !is_listed {
                    tracing::info!(
                        domain,
                        host = name,
                        "a mail exchanger is not in the policy, which is being tested"
                    );
                }
                Ok(Some(TlsDemand::Opportunistic))
            }
            Some(Mode::None) | None => Ok(Some(TlsDemand::Opportunistic)),
        }
    }

    fn by_name(&self, name: &str) -> Result<TlsDemand, NoTarget> {
        self.trust(name).map(TlsDemand::StartTls)
    }

    fn trust(&self, name: &str) -> Result<Trust, NoTarget> {
        Ok(Trust::authorities(Arc::clone(self.roots), subject(name)?)?)
    }

    fn literal(&self, address: IpAddr) -> Result<NextHop, NoTarget> {
        let Settings { ourselves, port, internal, .. } = self.settings;
        let socket = SocketAddr::new(address.to_canonical(), *port);
        let name = format!("[{address}]");
        if ourselves.listeners.contains(&socket) {
            return Err(Unroutable::Loop(name).into());
        }
        if !internal && !is_public(address) {
            return Err(Unroutable::NotPublic(name).into());
        }
        let demand = self.demand(RouteTls::Opportunistic, None, address)?;
        Ok(NextHop::new(name, socket, Protocol::Smtp, demand))
    }

    /// Hops that were written down: private addresses are meant. Who has failed lately comes last.
    async fn route(&self, route: &Route) -> Result<Vec<NextHop>, NoTarget> {
        let (mut targets, mut why_not) = (Vec::new(), None);
        for hop in hops::order(&route.hops, hops::random) {
            let host = match &hop.host {
                HopHost::Address(address) => {
                    Host { name: None, addresses: vec![*address], tlsa_bases: Vec::new() }
                }
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
        self.health.well_first(&mut targets);
        match (targets.is_empty(), why_not) {
            (true, Some(why_not)) => Err(why_not.into()),
            (true, None) => Err(NoTarget::Route("it has no hops".to_owned())),
            (false, _) => Ok(targets),
        }
    }

    fn demand(&self, tls: RouteTls, name: Option<&str>, address: IpAddr) -> Result<TlsDemand, NoTarget> {
        let subject = match name {
            Some(name) => subject(name)?,
            None => ServerName::IpAddress(address.into()),
        };
        let roots = || Arc::clone(self.roots);
        // What was written down here is known for sure; only its certificate is to be asked for.
        let tls = match (self.wish, tls) {
            (TlsWish::Required, RouteTls::Opportunistic | RouteTls::Encrypted) => RouteTls::Verified,
            (_, tls) => tls,
        };
        Ok(match tls {
            RouteTls::Never => TlsDemand::Never,
            RouteTls::Opportunistic => TlsDemand::Opportunistic,
            RouteTls::Encrypted => TlsDemand::StartTls(Trust::anyone(subject)?),
            RouteTls::Verified => TlsDemand::StartTls(Trust::authorities(roots(), subject)?),
            RouteTls::Implicit => TlsDemand::Implicit(Trust::authorities(roots(), subject)?),
        })
    }
}

/// The TLSA records of a host that listens at this port; `None` where it has none.
async fn association(
    resolver: &dyn Resolver,
    host: &Host,
    port: u16,
) -> Result<Option<Association>, Unresolved> {
    for base in &host.tlsa_bases {
        let records = resolver.tlsa(&format!("_{port}._tcp.{base}")).await?;
        if !records.is_empty() {
            return Ok(Some(Association::new(base.clone(), records)));
        }
    }
    Ok(None)
}

fn lists(policy: &Policy, host: &Host) -> bool {
    host.name.as_deref().is_some_and(|name| policy.lists(name))
}

fn subject(name: &str) -> Result<ServerName<'static>, NoTarget> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| NoTarget::Route(format!("{name:?} is no name that a certificate could have")))
}

/// More would keep a place of the destination for too long: the next attempt tries others of the same preference first.
const TARGETS_MAX: usize = 6;
