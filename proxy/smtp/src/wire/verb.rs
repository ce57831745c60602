//! Verbs and their names.

/// The first word of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// RFC 5321 section 4.1.1.1.
    Ehlo,
    /// RFC 5321 section 4.1.1.1.
    Helo,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth,
    /// RFC 5321 section 4.1.1.2.
    Mail,
    /// RFC 5321 section 4.1.1.3.
    Rcpt,
    /// RFC 5321 section 4.1.1.4.
    Data,
    /// RFC 3030.
    Bdat,
    /// RFC 5321 section 4.1.1.5.
    Rset,
    /// RFC 5321 section 4.1.1.9.
    Noop,
    /// RFC 5321 section 4.1.1.10.
    Quit,
    /// RFC 5321 section 4.1.1.6.
    Vrfy,
    /// RFC 5321 section 4.1.1.8.
    Help,
    /// Message properties between Exchange servers, a blob behind 354.
    Xexch50,
    /// Routing topology between Exchange servers.
    XLink2State,
    /// AUTH between Exchange servers.
    XExps,
    /// STARTTLS between Exchange servers.
    XAnonymousTls,
    /// RFC 1985.
    Etrn,
    /// RFC 2645.
    Atrn,
    /// Postfix: on whose behalf a listed relay speaks.
    Xclient,
    /// Postfix: what a listed relay wants logged.
    Xforward,
    /// A verb between servers whose argument has no public grammar.
    Opaque(OpaqueVerb),
    /// A verb that is for nobody.
    Forbidden(ForbiddenVerb),
    /// A method of HTTP: somebody has led a browser here.
    Http,
    /// Anything else.
    Unknown,
}

/// One of the verbs between servers whose arguments are not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpaqueVerb(&'static str);

/// One of the verbs that attacks begin with and mail does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForbiddenVerb(&'static str);

// === impl Verb ===

impl Verb {
    /// Every verb with a name of its own.
    const NAMED: [(Self, &'static str); 21] = [
        (Self::Ehlo, "EHLO"),
        (Self::Helo, "HELO"),
        (Self::StartTls, "STARTTLS"),
        (Self::Auth, "AUTH"),
        (Self::Mail, "MAIL"),
        (Self::Rcpt, "RCPT"),
        (Self::Data, "DATA"),
        (Self::Bdat, "BDAT"),
        (Self::Rset, "RSET"),
        (Self::Noop, "NOOP"),
        (Self::Quit, "QUIT"),
        (Self::Vrfy, "VRFY"),
        (Self::Help, "HELP"),
        (Self::Xexch50, "XEXCH50"),
        (Self::XLink2State, "X-LINK2STATE"),
        (Self::XExps, "X-EXPS"),
        (Self::XAnonymousTls, "X-ANONYMOUSTLS"),
        (Self::Etrn, "ETRN"),
        (Self::Atrn, "ATRN"),
        (Self::Xclient, "XCLIENT"),
        (Self::Xforward, "XFORWARD"),
    ];

    /// Every verb that Gatepost knows, whether it has a use for it or not.
    pub fn all() -> impl Iterator<Item = Self> {
        let named = Self::NAMED.into_iter().map(|(verb, _)| verb);
        let opaque = OPAQUE.into_iter().map(|name| Self::Opaque(OpaqueVerb(name)));
        named.chain(opaque).chain(FORBIDDEN.into_iter().map(|name| Self::Forbidden(ForbiddenVerb(name))))
    }

    /// Splits a line into its verb and everything behind it, the space before an argument included. White space at the
    /// end of the line is dropped, see `quirk_trailing_space`.
    #[must_use]
    pub fn split(line: &[u8]) -> (Self, &[u8]) {
        let line = quirk_trailing_space(line);
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (word, argument) = line.split_at_checked(end).unwrap_or((line, &[]));
        (Self::from_word(word), argument)
    }

    fn from_word(word: &[u8]) -> Self {
        let is_word = |name: &&str| word.eq_ignore_ascii_case(name.as_bytes());
        if let Some((verb, _)) = Self::NAMED.iter().find(|(_, name)| is_word(name)) {
            return *verb;
        }
        let opaque = || OPAQUE.into_iter().find(is_word).map(|name| Self::Opaque(OpaqueVerb(name)));
        let forbidden =
            || FORBIDDEN.into_iter().find(is_word).map(|name| Self::Forbidden(ForbiddenVerb(name)));
        let is_method = HTTP_METHODS.iter().any(|name| word == name.as_bytes());
        opaque().or_else(forbidden).unwrap_or(if is_method { Self::Http } else { Self::Unknown })
    }

    /// Whether what stands behind it may be a password, or what leads to one.
    #[must_use]
    pub fn carries_secret(self) -> bool {
        matches!(self, Self::Auth | Self::XExps | Self::Forbidden(ForbiddenVerb("XAUTH")))
    }

    /// Its name in upper case; `?` for an unknown one, since this goes into logs and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opaque(OpaqueVerb(name)) | Self::Forbidden(ForbiddenVerb(name)) => name,
            Self::Http => "HTTP",
            named => Self::NAMED.iter().find(|(verb, _)| *verb == named).map_or("?", |(_, name)| name),
        }
    }
}

/// RFC 5321 section 4.1.1 asks servers to tolerate white space before the CRLF. It is dropped here, once for all verbs;
/// no value can end with it.
pub(super) fn quirk_trailing_space(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let Some((b' ' | b'\t', shorter)) = text.split_last() {
        text = shorter;
    }
    text
}

/// Seen between Exchange servers; what stands behind them is not documented.
const OPAQUE: [&str; 17] = [
    "XPROXY",
    "XPROXYFROM",
    "XPROXYTO",
    "XSHADOW",
    "XSHADOWREQUEST",
    "XRDST",
    "XOORG",
    "XORAR",
    "XLONGADDR",
    "XADRC",
    "XEXPROPS",
    "XSESSIONPARAMS",
    "XSESSIONMDBGUID",
    "XSYSPROBE",
    "XATTR",
    "XORIGFROM",
    "XMESSAGECONTEXT",
];

/// RFC 9110 section 9 and RFC 5789; `PRI` begins HTTP/2 (RFC 9113 section 3.4). Their case matters.
const HTTP_METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI"];

/// What intrusion detection looks for, and two that have no place any more: XAUTH, an AUTH of old that overflowed, and
/// TURN, by which a client could fetch another's mail (RFC 5321 appendix F.1).
const FORBIDDEN: [&str; 30] = [
    "TURN", "XAUTH", "X-ADAT", "X-DRCP", "X-ERCP", "X-EXCH50", "XADR", "XCIR", "XGEN", "XLICENSE", "XQUE",
    "XSTA", "XTRN", "XUSR", "EMAL", "ESAM", "ESND", "ESOM", "EVFY", "ONEX", "QUEU", "TICK", "TIME", "TURNME",
    "VERB", "IDENT", "DEBUG", "SEND", "SAML", "SOML",
];
