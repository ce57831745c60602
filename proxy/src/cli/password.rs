//! Where passwords come from: a prompt on the terminal, or standard input; never the arguments, which every process
//! on the machine can read.

use std::io::{self, IsTerminal as _, Read as _};

use gatepost_core::directory::Password;
use zeroize::Zeroizing;

use super::{Exit, Failure};

/// A new password: asked for twice on a terminal, or the first line of standard input.
pub(super) fn new_password(from_stdin: bool) -> Result<Password, Failure> {
    let typed = if from_stdin { first_line(io::stdin())? } else { ask_twice()? };
    Password::prepare(typed.as_bytes()).map_err(Failure::general)
}

fn ask_twice() -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        let hint = "standard input is no terminal: use --password-stdin to read the password from it";
        return Err(Failure::new(Exit::Usage, hint));
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|error| Failure::general(format!("cannot ask for the password: {error}")))
    };
    let first = ask("New password: ")?;
    if *ask("The same again: ")? != *first {
        return Err(Failure::general("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

/// Without its line end. More than `STDIN_OCTETS_MAX` is never read.
fn first_line(input: impl io::Read) -> Result<Zeroizing<String>, Failure> {
    let mut octets = Zeroizing::new(Vec::with_capacity(STDIN_OCTETS_MAX));
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::general(format!("cannot read the password: {error}"));
    let limit = u64::try_from(STDIN_OCTETS_MAX).unwrap_or(u64::MAX);
    input.take(limit).read_to_end(&mut octets).map_err(|error| unreadable(&error))?;
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line).map(|text| Zeroizing::new(text.to_owned())).map_err(|error| unreadable(&error))
}

/// Four times the longest password, so that one that is too long is seen as such.
const STDIN_OCTETS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts_without_its_end() {
        for (input, password) in [("a b\n", "a b"), ("a\r\nb", "a"), ("last", "last"), ("", ""), ("\n", "")] {
            assert_eq!(*first_line(input.as_bytes()).unwrap(), password);
        }
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }
}
