//! Certificate and key → what takes TLS connections (1.2 and 1.3).

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::ServeError;
use super::config::TlsConfig;
use super::listen::Protocol;

/// Reads both files; `protocol` is what the connections speak.
pub(super) fn acceptor(files: &TlsConfig, protocol: Protocol) -> Result<TlsAcceptor, ServeError> {
    let bad = |path: &Path, what: String| ServeError::Tls {
        path: path.to_owned(),
        what,
    };
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| ServeError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let (cert, key) = (read(&files.cert)?, read(&files.key)?);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&cert)
        .collect::<Result<_, _>>()
        .map_err(|e| bad(&files.cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(bad(&files.cert, "it has no certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| bad(&files.key, e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| bad(&files.key, e.to_string()))?;
    config.alpn_protocols = vec![protocol.name().to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
