//! ESMTP parameters of MAIL and RCPT, typed.

use std::fmt;

use nom::Parser;
use nom::bytes::complete::take_while1;
use nom::character::complete::{char, satisfy};
use nom::combinator::{all_consuming, opt, recognize};
use nom::multi::many0;
use nom::sequence::{pair, preceded};

use super::limits::{ENVID_OCTETS, ORCPT_OCTETS};
use super::path::{Mailbox, Parsed, atom, is_utf8_non_ascii};
use super::xtext;

/// `BODY=` (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// `7BIT`, also when nothing was said.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`: legal only where switched on, and only with BDAT.
    BinaryMime,
}

/// `RET=` (RFC 3461 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message comes back.
    Full,
    /// Its headers only.
    Hdrs,
}

/// `AUTH=` of MAIL (RFC 4954 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthParam {
    /// `AUTH=<>`.
    Unknown,
    /// The submitter, xtext decoded.
    Submitter(Mailbox),
}

/// Everything that MAIL may carry besides the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParams {
    /// `SIZE=`, octets (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: BodyKind,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689).
    pub requiretls: bool,
    /// `AUTH=`.
    pub auth: Option<AuthParam>,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, xtext decoded, at most 100 octets (RFC 3461 section 4.4).
    pub envid: Option<String>,
}

/// `NOTIFY=` (RFC 3461 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// No notification of any kind.
    Never,
    /// At least one of the three is set.
    On {
        /// Report success.
        success: bool,
        /// Report failure.
        failure: bool,
        /// Report delay.
        delay: bool,
    },
}

/// `ORCPT=` (RFC 3461 section 4.2): `addr-type;xtext`, xtext decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// An atom such as `rfc822` or `utf-8` (RFC 6533).
    pub kind: String,
    /// The address, at most 500 octets; the `\x{...}` of type `utf-8` stays as it is.
    pub address: String,
}

/// Everything that RCPT may carry besides the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParams {
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`.
    pub orcpt: Option<OriginalRecipient>,
}

/// Why parameters were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// A keyword that this verb does not have: 555 (RFC 5321 section 4.1.1.11).
    #[error("unknown parameter")]
    Unknown,
    /// The value does not fit the keyword's grammar, or the keyword came twice: 501.
    #[error("malformed parameter")]
    Malformed,
}

// === impl MailParams ===

impl MailParams {
    /// Reads `[ SP Mail-parameters ]`: empty, or each parameter behind exactly one space; `Display` is its inverse.
    ///
    /// # Errors
    /// Where a parameter is unknown, malformed or there twice.
    pub fn parse(input: &str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        let mut seen = Seen::default();
        for (keyword, value) in esmtp_params(input)? {
            seen.first_time(keyword)?;
            match (keyword.to_ascii_uppercase().as_str(), value) {
                ("SIZE", Some(value)) => params.size = Some(size_value(value)?),
                ("BODY", Some(value)) => params.body = body_value(value)?,
                ("SMTPUTF8", None) => params.smtputf8 = true,
                ("REQUIRETLS", None) => params.requiretls = true,
                ("AUTH", Some(value)) => params.auth = Some(auth_value(value)?),
                ("RET", Some(value)) => params.ret = Some(ret_value(value)?),
                ("ENVID", Some(value)) => params.envid = Some(printable_xtext(value, ENVID_OCTETS)?),
                ("SIZE" | "BODY" | "SMTPUTF8" | "REQUIRETLS" | "AUTH" | "RET" | "ENVID", _) => {
                    return Err(ParamError::Malformed);
                }
                _ => return Err(ParamError::Unknown),
            }
        }
        Ok(params)
    }
}

/// As behind the path on the wire, each parameter with its leading space; `BODY=7BIT` is left out.
impl fmt::Display for MailParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            write!(f, " SIZE={size}")?;
        }
        match self.body {
            BodyKind::SevenBit => {}
            BodyKind::EightBitMime => f.write_str(" BODY=8BITMIME")?,
            BodyKind::BinaryMime => f.write_str(" BODY=BINARYMIME")?,
        }
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if self.requiretls {
            f.write_str(" REQUIRETLS")?;
        }
        match &self.auth {
            None => {}
            Some(AuthParam::Unknown) => f.write_str(" AUTH=<>")?,
            Some(AuthParam::Submitter(mailbox)) => {
                write!(f, " AUTH={}", xtext::encode(mailbox.to_string().as_bytes()))?;
            }
        }
        match self.ret {
            None => {}
            Some(Ret::Full) => f.write_str(" RET=FULL")?,
            Some(Ret::Hdrs) => f.write_str(" RET=HDRS")?,
        }
        match &self.envid {
            None => Ok(()),
            Some(envid) => write!(f, " ENVID={}", xtext::encode(envid.as_bytes())),
        }
    }
}

// === impl RcptParams ===

impl RcptParams {
    /// Reads `[ SP Rcpt-parameters ]`: empty, or each parameter behind exactly one space; `Display` is its inverse.
    ///
    /// # Errors
    /// Where a parameter is unknown, malformed or there twice.
    pub fn parse(input: &str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        let mut seen = Seen::default();
        for (keyword, value) in esmtp_params(input)? {
            seen.first_time(keyword)?;
            match (keyword.to_ascii_uppercase().as_str(), value) {
                ("NOTIFY", Some(value)) => params.notify = Some(notify_value(value)?),
                ("ORCPT", Some(value)) => params.orcpt = Some(orcpt_value(value)?),
                ("NOTIFY" | "ORCPT", None) => return Err(ParamError::Malformed),
                _ => return Err(ParamError::Unknown),
            }
        }
        Ok(params)
    }
}

/// As behind the path on the wire, each parameter with its leading space.
impl fmt::Display for RcptParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        match &self.orcpt {
            None => Ok(()),
            Some(orcpt) => write!(f, " ORCPT={orcpt}"),
        }
    }
}

// === impl Notify ===

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Never => f.write_str("NEVER"),
            Self::On { success, failure, delay } => {
                let names = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                let names: Vec<_> = names.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

// === impl OriginalRecipient ===

/// `addr-type ";" xtext`; an address outside of ASCII as it is (`utf-8-addr-unitext`, RFC 6533 section 3).
impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.kind)?;
        if self.address.is_ascii() {
            f.write_str(&xtext::encode(self.address.as_bytes()))
        } else {
            f.write_str(&self.address)
        }
    }
}

// === The grammar ===

/// A keyword and its value as written.
type Param<'a> = (&'a str, Option<&'a str>);

/// `*( SP esmtp-param )`.
fn esmtp_params(input: &str) -> Result<Vec<Param<'_>>, ParamError> {
    match all_consuming(many0(preceded(char(' '), esmtp_param))).parse(input) {
        Ok((_, params)) => Ok(params),
        Err(_) => Err(ParamError::Malformed),
    }
}

/// `esmtp-param = esmtp-keyword ["=" esmtp-value]` (RFC 5321 section 4.1.2).
fn esmtp_param(input: &str) -> Parsed<'_, Param<'_>> {
    pair(esmtp_keyword, opt(preceded(char('='), esmtp_value))).parse(input)
}

/// `esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")`.
fn esmtp_keyword(input: &str) -> Parsed<'_, &str> {
    let first = satisfy(|c| c.is_ascii_alphanumeric());
    recognize(pair(first, many0(satisfy(|c| c.is_ascii_alphanumeric() || c == '-')))).parse(input)
}

/// `esmtp-value = 1*(%d33-60 / %d62-126 / UTF8-non-ascii)` (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
fn esmtp_value(input: &str) -> Parsed<'_, &str> {
    take_while1(|c| (matches!(c, '!'..='~') && c != '=') || is_utf8_non_ascii(c)).parse(input)
}

/// `size-value = 1*20DIGIT` (RFC 1870 section 3); what does not fit 64 bits is no size.
fn size_value(value: &str) -> Result<u64, ParamError> {
    decimal(value).ok_or(ParamError::Malformed)
}

/// `1*20DIGIT` that fits 64 bits; a sign is none of it. Used for SIZE and for the size of a chunk.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits_only = text.bytes().all(|octet| octet.is_ascii_digit());
    if digits_only && text.len() <= 20 { text.parse().ok() } else { None }
}

/// `body-value = "7BIT" / "8BITMIME" / "BINARYMIME"` (RFC 6152 section 2, RFC 3030 section 3).
fn body_value(value: &str) -> Result<BodyKind, ParamError> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyKind::SevenBit),
        "8BITMIME" => Ok(BodyKind::EightBitMime),
        "BINARYMIME" => Ok(BodyKind::BinaryMime),
        _ => Err(ParamError::Malformed),
    }
}

/// `"<>" / xtext` of a mailbox (RFC 4954 section 5).
fn auth_value(value: &str) -> Result<AuthParam, ParamError> {
    if value == "<>" {
        return Ok(AuthParam::Unknown);
    }
    let text = xtext::decode(value)
        .and_then(|octets| String::from_utf8(octets).ok())
        .ok_or(ParamError::Malformed)?;
    text.parse().map(AuthParam::Submitter).map_err(|_| ParamError::Malformed)
}

/// `ret-value = "FULL" / "HDRS"` (RFC 3461 section 4.3).
fn ret_value(value: &str) -> Result<Ret, ParamError> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Ret::Full),
        "HDRS" => Ok(Ret::Hdrs),
        _ => Err(ParamError::Malformed),
    }
}

/// `notify-esmtp-value = "NEVER" / 1#notify-list-element` (RFC 3461 section 4.1).
fn notify_value(value: &str) -> Result<Notify, ParamError> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for element in value.split(',') {
        match element.to_ascii_uppercase().as_str() {
            "SUCCESS" => success = true,
            "FAILURE" => failure = true,
            "DELAY" => delay = true,
            _ => return Err(ParamError::Malformed),
        }
    }
    Ok(Notify::On { success, failure, delay })
}

/// `original-recipient-address = addr-type ";" xtext`, `addr-type = atom` (RFC 3461 section 4.2), or of type `utf-8` with
/// characters outside of ASCII (RFC 6533 section 3). Postfix writes an address outside of ASCII as xtext of type `rfc822`,
/// which means nothing else than what it says in type `utf-8`.
fn orcpt_value(value: &str) -> Result<OriginalRecipient, ParamError> {
    let (kind, address) = value.split_once(';').ok_or(ParamError::Malformed)?;
    if value.len() > ORCPT_OCTETS || !kind.is_ascii() || all_consuming(atom).parse(kind).is_err() {
        return Err(ParamError::Malformed);
    }
    if kind.eq_ignore_ascii_case("rfc822")
        && let Some(address) = utf8_xtext(address)
    {
        return Ok(OriginalRecipient { kind: "utf-8".to_owned(), address });
    }
    let is_unitext = kind.eq_ignore_ascii_case("utf-8") && !address.is_ascii();
    let address = match is_unitext {
        true if address.contains(['+', '=']) => return Err(ParamError::Malformed),
        true => address.to_owned(),
        false => printable_xtext(address, ORCPT_OCTETS)?,
    };
    Ok(OriginalRecipient { kind: kind.to_owned(), address })
}

/// xtext of UTF-8 beyond ASCII, as `utf-8-addr-xtext`: in ASCII, with `\x{...}` for what is not (RFC 6533 section 3).
fn utf8_xtext(value: &str) -> Option<String> {
    let decoded = String::from_utf8(xtext::decode(value)?).ok()?;
    if decoded.is_ascii() || decoded.contains(char::is_control) {
        return None;
    }
    let embedded: String = decoded
        .chars()
        .map(|c| match c {
            '!'..='~' if !matches!(c, '\\' | '+' | '=') => c.to_string(),
            _ => format!("\\x{{{:X}}}", u32::from(c)),
        })
        .collect();
    (embedded.len() <= ORCPT_OCTETS.saturating_sub("utf-8;".len())).then_some(embedded)
}

/// xtext whose decoded form is printable ASCII, not empty (RFC 3461 sections 4.2 and 4.4).
fn printable_xtext(value: &str, octets_max: usize) -> Result<String, ParamError> {
    let decoded = xtext::decode(value).ok_or(ParamError::Malformed)?;
    let is_printable = decoded.iter().all(|octet| matches!(octet, b' '..=b'~'));
    if value.len() > octets_max || decoded.is_empty() || !is_printable {
        return Err(ParamError::Malformed);
    }
    String::from_utf8(decoded).map_err(|_| ParamError::Malformed)
}

/// The keywords so far: each may come once (RFC 5321 section 4.1.1.11 leaves no meaning for two).
#[derive(Default)]
struct Seen<'a>(Vec<&'a str>);

impl<'a> Seen<'a> {
    fn first_time(&mut self, keyword: &'a str) -> Result<(), ParamError> {
        if self.0.iter().any(|seen| seen.eq_ignore_ascii_case(keyword)) {
            return Err(ParamError::Malformed);
        }
        self.0.push(keyword);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
