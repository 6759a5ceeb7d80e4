//! A certificate for this machine alone, made anew at each start.

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

/// Whom the certificate is for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate that signs itself. Its key stays in this process.
pub(crate) struct Certificate {
    pem: String,
    config: Arc<ServerConfig>,
}

/// A certificate's file in PEM format, for those who are to trust it. Dropping it deletes it.
#[derive(Debug)]
pub(crate) struct CertificateFile(PathBuf);

impl Certificate {
    pub(crate) fn new() -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(NAMES.map(str::to_owned))?;
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

    /// What shakes hands with clients by it.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Writes the file for the server on `port`, which no other one has meanwhile: a file that a killed run has left
    /// behind is overwritten.
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
        // Where that fails, it stays behind, and does no harm.
        _ = fs::remove_file(&self.0);
    }
}
