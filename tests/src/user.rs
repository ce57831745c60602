//! Accounts and their secrets.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE};

use crate::smtp::plain_response;

/// An account.
#[derive(Debug, Clone)]
pub struct User {
    /// The account's name, which is its address.
    pub name: String,
    /// Random.
    pub password: String,
}

// === impl User ===

impl User {
    /// A user with a random password.
    ///
    /// # Panics
    /// When there is no randomness.
    #[must_use]
    pub fn random(name: &str) -> Self {
        let mut random = [0; 15];
        aws_lc_rs::rand::fill(&mut random).expect("randomness");
        Self { name: name.to_owned(), password: format!("Pw-{}", URL_SAFE.encode(random)) }
    }

    /// From what the first start has written: a line with the address, one with the password, each behind a label.
    #[must_use]
    pub(crate) fn from_first_user_file(text: &str) -> Self {
        let value = |label: &str| {
            let line = text.lines().find(|line| line.trim().to_ascii_lowercase().starts_with(label));
            let line = line.unwrap_or_else(|| panic!("no {label} in first-user.txt"));
            line.split_whitespace().last().expect("a value").to_owned()
        };
        Self { name: value("user"), password: value("password") }
    }

    /// The password as it is and as base64 shows it.
    #[must_use]
    pub fn shapes_of_password(&self) -> [String; 3] {
        [self.password.clone(), BASE64.encode(&self.password), plain_response("", &self.name, &self.password)]
    }
}
