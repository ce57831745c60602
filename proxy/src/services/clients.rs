//! From the configuration of client certificates to what a listener verifies them with.

use crate::config::{Config, Listener};
use crate::tls::{Authorities, ClientCertificates, Tls, TlsError};

/// Reads the files that say who vouches for clients.
///
/// # Errors
/// One of them cannot be used.
pub fn check_authorities(config: &Config) -> Result<(), TlsError> {
    let mut clients = config.listeners.iter().filter_map(|listener| listener.client_certificates.as_ref());
    clients.try_for_each(|clients| Authorities::load(&clients.authorities).map(drop))
}

/// Reads the file of a listener that asks for certificates.
pub(super) fn load(listener: &Listener, tls: &Tls) -> Result<Option<ClientCertificates>, TlsError> {
    let Some(clients) = &listener.client_certificates else {
        return Ok(None);
    };
    let authorities = Authorities::load(&clients.authorities)?;
    let names = clients
        .peers
        .iter()
        .flat_map(|peers| peers.names.iter().map(|name| (name.to_string(), peers.class.into())));
    ClientCertificates::new(tls, authorities, names).map(Some)
}
