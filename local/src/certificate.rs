//! A self-signed certificate for this machine only, created at each start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::build;

/// The names that the certificate is valid for.
const SUBJECT_NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A self-signed certificate. Its key stays in this process.
pub(crate) struct Certificate {
    pem: String,
    config: Arc<ServerConfig>,
}

/// A certificate's file in PEM format, for clients that trust it. Dropping it deletes the file.
#[derive(Debug)]
pub(crate) struct CertificateFile(PathBuf);

impl Certificate {
    pub(crate) fn new() -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(SUBJECT_NAMES.map(str::to_owned))?;
        let key = PrivateKeyDer::from(signing_key);
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            pem: cert.pem(),
            config: Arc::new(config),
        })
    }

    /// Returns an acceptor for TLS handshakes with this certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Writes the file for the server on `port`. No other server has this port now, so an existing file is left over
    /// from a killed run and is overwritten.
    pub(crate) fn write(&self, port: u16) -> Result<CertificateFile> {
        let folder = build::workspace().join("target/local");
        let path = folder.join(format!("endpoint-{port}.pem"));
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, &self.pem))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(CertificateFile(path))
    }
}

impl CertificateFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CertificateFile {
    fn drop(&mut self) {
        // If this fails, the file is left over, which does no harm.
        _ = fs::remove_file(&self.0);
    }
}
