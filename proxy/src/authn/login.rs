//! LOGIN: two prompts, obsolete (draft-murchison-sasl-login-00), still the first choice of some clients.

/// What the client has to say next. The initial response, where there is one, is the name.
#[derive(Debug, Default)]
pub(super) enum Login {
    /// His name.
    #[default]
    AwaitingName,
    /// His password.
    AwaitingPassword {
        /// As he typed it.
        name: String,
    },
}

// === impl Login ===

impl Login {
    /// Clients compare it, some with regard to case.
    pub(super) const NAME_PROMPT: &[u8] = b"Username:";
    /// As above.
    pub(super) const PASSWORD_PROMPT: &[u8] = b"Password:";
}
