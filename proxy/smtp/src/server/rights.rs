//! Who a peer is, as far as rights go, and what each class of peers may do.
//!
//! A right is a bit. A listener gives each class a set of them; nothing that is not in the set is allowed. The verb table
//! says which right a verb needs, and backends ask for the others.
#![doc = include_str!("verb_table.md")]

use std::fmt;
use std::str::FromStr;

/// What a peer has been recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerClass {
    /// Nothing is known of it but its address.
    Anonymous,
    /// It has authenticated as a user.
    User,
    /// Another organisation's server that we have an agreement with.
    Partner,
    /// A server of the same organisation.
    Server,
    /// A network that is secured by other means, such as IPsec.
    ExternallySecured,
}

/// One thing that a peer may do. The names in configuration files are those of `name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Hand in mail.
    Submit,
    /// Hand in mail for recipients who do not live here.
    AcceptAnyRecipient,
    /// Send as anybody.
    AcceptAnySender,
    /// Send as somebody of a local domain.
    AcceptAuthoritativeDomainSender,
    /// Have `MAIL AUTH=` believed (RFC 4954 section 5).
    AcceptAuthenticationFlag,
    /// Skip the checks that are there for strangers' mail; never the virus scan.
    BypassAntiSpam,
    /// Hand in larger mail than others.
    BypassSizeLimit,
    /// Have its trace fields kept.
    AcceptHeadersRouting,
    /// Have `X-MS-Exchange-Organization-*` and the like kept.
    AcceptHeadersOrganization,
    /// Have `X-MS-Exchange-Forest-*` and the like kept.
    AcceptHeadersForest,
    /// XEXCH50.
    AcceptExch50,
    /// X-LINK2STATE.
    AcceptLinkState,
    /// X-EXPS.
    AcceptServerAuth,
    /// X-ANONYMOUSTLS.
    AcceptServerTls,
    /// ETRN and ATRN.
    AcceptDequeue,
    /// The verbs whose arguments are not public.
    AcceptOpaque,
    /// XCLIENT and XFORWARD. No class has it: it is the right of a listed address, see `PeerFacts::may_xclient`.
    AcceptXclient,
}

/// A set of rights.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rights(u32);

/// What a listener lets each class do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassRights([Rights; PeerClass::ALL.len()]);

/// No right has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a right")]
pub struct UnknownRight;

// === impl PeerClass ===

impl PeerClass {
    /// Every class, from the least trusted on.
    pub const ALL: [Self; 5] =
        [Self::Anonymous, Self::User, Self::Partner, Self::Server, Self::ExternallySecured];

    /// A stable name for logs, labels and configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User => "user",
            Self::Partner => "partner",
            Self::Server => "server",
            Self::ExternallySecured => "externally-secured",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Anonymous => 0,
            Self::User => 1,
            Self::Partner => 2,
            Self::Server => 3,
            Self::ExternallySecured => 4,
        }
    }
}

// === impl Right ===

impl Right {
    /// Every right.
    pub const ALL: [Self; 17] = [
        Self::Submit,
        Self::AcceptAnyRecipient,
        Self::AcceptAnySender,
        Self::AcceptAuthoritativeDomainSender,
        Self::AcceptAuthenticationFlag,
        Self::BypassAntiSpam,
        Self::BypassSizeLimit,
        Self::AcceptHeadersRouting,
        Self::AcceptHeadersOrganization,
        Self::AcceptHeadersForest,
        Self::AcceptExch50,
        Self::AcceptLinkState,
        Self::AcceptServerAuth,
        Self::AcceptServerTls,
        Self::AcceptDequeue,
        Self::AcceptOpaque,
        Self::AcceptXclient,
    ];

    /// A stable name for logs and configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::AcceptAnyRecipient => "accept-any-recipient",
            Self::AcceptAnySender => "accept-any-sender",
            Self::AcceptAuthoritativeDomainSender => "accept-authoritative-domain-sender",
            Self::AcceptAuthenticationFlag => "accept-authentication-flag",
            Self::BypassAntiSpam => "bypass-anti-spam",
            Self::BypassSizeLimit => "bypass-size-limit",
            Self::AcceptHeadersRouting => "accept-headers-routing",
            Self::AcceptHeadersOrganization => "accept-headers-organization",
            Self::AcceptHeadersForest => "accept-headers-forest",
            Self::AcceptExch50 => "accept-exch50",
            Self::AcceptLinkState => "accept-link-state",
            Self::AcceptServerAuth => "accept-server-auth",
            Self::AcceptServerTls => "accept-server-tls",
            Self::AcceptDequeue => "accept-dequeue",
            Self::AcceptOpaque => "accept-opaque",
            Self::AcceptXclient => "accept-xclient",
        }
    }

    const fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

impl FromStr for Right {
    type Err = UnknownRight;

    fn from_str(name: &str) -> Result<Self, UnknownRight> {
        Self::ALL.into_iter().find(|right| right.name() == name).ok_or(UnknownRight)
    }
}

// === impl Rights ===

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);

    /// These rights.
    #[must_use]
    pub const fn of(rights: &[Right]) -> Self {
        let mut set = Self::NONE;
        let mut rest = rights;
        while let [right, others @ ..] = rest {
            set = set.with(*right);
            rest = others;
        }
        set
    }

    /// And this one.
    #[must_use]
    pub const fn with(self, right: Right) -> Self {
        Self(self.0 | right.bit())
    }

    /// But not this one.
    #[must_use]
    pub const fn without(self, right: Right) -> Self {
        Self(self.0 & !right.bit())
    }

    /// Whether this right is among them.
    #[must_use]
    pub const fn contains(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.contains(*right))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        rights.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Right::name)).finish()
    }
}

// === impl ClassRights ===

impl ClassRights {
    /// What this class may do.
    #[must_use]
    pub fn of(&self, class: PeerClass) -> Rights {
        self.0.get(class.index()).copied().unwrap_or_default()
    }

    /// The same, but with these rights for this class.
    #[must_use]
    pub fn with(mut self, class: PeerClass, rights: Rights) -> Self {
        if let Some(of_class) = self.0.get_mut(class.index()) {
            *of_class = rights;
        }
        self
    }

    /// The same, but nobody hands in mail before he has said who he is.
    #[must_use]
    pub fn requiring_auth(self) -> Self {
        let anonymous = self.of(PeerClass::Anonymous).without(Right::Submit);
        self.with(PeerClass::Anonymous, anonymous)
    }
}

/// What receive connectors of Exchange give to the same classes, and to servers a right for each family of verbs.
impl Default for ClassRights {
    fn default() -> Self {
        Self([ANONYMOUS, USER, PARTNER, SERVER, EXTERNALLY_SECURED])
    }
}

const ANONYMOUS: Rights = Rights::of(&[
    Right::Submit,
    Right::AcceptAnySender,
    Right::AcceptAuthoritativeDomainSender,
    Right::AcceptHeadersRouting,
]);

/// A user sends as his own addresses, to anybody.
const USER: Rights = Rights::of(&[
    Right::Submit,
    Right::AcceptAnyRecipient,
    Right::BypassAntiSpam,
    Right::AcceptHeadersRouting,
]);

const PARTNER: Rights = Rights::of(&[Right::Submit, Right::AcceptAnySender, Right::AcceptHeadersRouting]);

const SERVER: Rights = Rights::of(&[
    Right::Submit,
    Right::AcceptAnyRecipient,
    Right::AcceptAnySender,
    Right::AcceptAuthoritativeDomainSender,
    Right::AcceptAuthenticationFlag,
    Right::BypassAntiSpam,
    Right::BypassSizeLimit,
    Right::AcceptHeadersRouting,
    Right::AcceptHeadersOrganization,
    Right::AcceptHeadersForest,
    Right::AcceptExch50,
    Right::AcceptLinkState,
    Right::AcceptServerAuth,
    Right::AcceptServerTls,
    Right::AcceptDequeue,
    Right::AcceptOpaque,
]);

/// Whoever secured the network vouches for its mail, not for the state of our organisation.
const EXTERNALLY_SECURED: Rights = Rights::of(&[
    Right::Submit,
    Right::AcceptAnyRecipient,
    Right::AcceptAnySender,
    Right::AcceptAuthoritativeDomainSender,
    Right::AcceptAuthenticationFlag,
    Right::BypassAntiSpam,
    Right::BypassSizeLimit,
    Right::AcceptHeadersRouting,
    Right::AcceptExch50,
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for right in Right::ALL {
            let set = Rights::of(&[right]);
            assert!(Right::ALL.into_iter().all(|other| set.contains(other) == (other == right)));
            assert_eq!(set.without(right), Rights::NONE);
            assert_eq!(right.name().parse(), Ok(right));
        }
        assert_eq!("submit-all".parse::<Right>(), Err(UnknownRight));
    }

    #[test]
    fn extension_verbs_are_for_servers_and_xclient_for_no_class() {
        let rights = ClassRights::default();
        for class in [PeerClass::Anonymous, PeerClass::User, PeerClass::Partner] {
            let verbs = [Right::AcceptExch50, Right::AcceptLinkState, Right::AcceptServerAuth];
            let others = [Right::AcceptServerTls, Right::AcceptDequeue, Right::AcceptOpaque];
            let mut all = verbs.into_iter().chain(others);
            assert!(all.all(|right| !rights.of(class).contains(right)), "{class:?}");
        }
        assert!(PeerClass::ALL.iter().all(|class| !rights.of(*class).contains(Right::AcceptXclient)));
    }

    #[test]
    fn required_authentication_takes_submission_from_strangers_alone() {
        let rights = ClassRights::default().requiring_auth();
        let may_submit = |class| rights.of(class).contains(Right::Submit);
        assert!(!may_submit(PeerClass::Anonymous));
        assert!(PeerClass::ALL[1..].iter().all(|class| may_submit(*class)));
    }
}
