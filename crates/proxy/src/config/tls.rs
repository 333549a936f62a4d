//! `tls`, `server_tls` and `sentinel_tls` of a pool, as written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::Deserialize;
use shoal_topology::Endpoint;

use crate::io::tls_files;
use crate::tls::{HANDSHAKE_TIMEOUT, ListenTls, ServerTls};

/// How clients are spoken to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsEntry {
    /// Where, if not where the pool listens.
    listen: Option<String>,
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    /// Milliseconds.
    handshake_timeout: Option<u64>,
}

/// How servers are spoken to, or the sentinels that watch them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerTlsEntry {
    ca: PathBuf,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
    /// Milliseconds.
    handshake_timeout: Option<u64>,
}

impl TlsEntry {
    /// Reads the files, which are relative to `folder`.
    pub(super) fn mean(&self, folder: &Path) -> Result<Arc<ListenTls>, String> {
        self.read(folder).map(Arc::new).map_err(|why| format!("tls: {why}"))
    }

    fn read(&self, folder: &Path) -> Result<ListenTls, String> {
        let listen = self.listen.as_deref().map(super::listen).transpose()?;
        let client_ca = self.client_ca.as_ref().map(|file| folder.join(file));
        let (config, expires_at) =
            tls_files::accepting(&folder.join(&self.cert), &folder.join(&self.key), client_ca.as_deref())?;
        let handshake_timeout = handshake_timeout(self.handshake_timeout)?;
        Ok(ListenTls { config, listen, handshake_timeout, expires_at })
    }
}

impl ServerTlsEntry {
    /// Reads the files, which are relative to `folder`, for these, each with what it is called. `key` is what this stands under.
    pub(super) fn mean(
        &self,
        key: &str,
        folder: &Path,
        spoken_to: &[(String, &Endpoint)],
    ) -> Result<ServerTls, String> {
        self.read(folder, spoken_to).map_err(|why| format!("{key}: {why}"))
    }

    /// The same for sentinels.
    pub(super) fn mean_of_sentinels(
        &self,
        folder: &Path,
        spoken_to: &[(String, &Endpoint)],
    ) -> Result<ServerTls, String> {
        if self.handshake_timeout.is_some() {
            return Err("sentinel_tls: handshake_timeout: a sentinel has a second for its answer, the handshake included: leave \
                        it out"
                .to_owned());
        }
        self.mean("sentinel_tls", folder, spoken_to)
    }

    fn read(&self, folder: &Path, spoken_to: &[(String, &Endpoint)]) -> Result<ServerTls, String> {
        let own = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((folder.join(cert), folder.join(key))),
            (None, None) => None,
            (Some(_), None) => return Err("cert: it needs its key as well".to_owned()),
            (None, Some(_)) => return Err("key: it needs its cert as well".to_owned()),
        };
        let own = own.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        let server_name = match &self.server_name {
            Some(name) => {
                let parsed = ServerName::try_from(name.clone());
                Some(
                    parsed
                        .map_err(|_| format!("server_name: {name} is neither a host name nor an address"))?,
                )
            }
            None => None,
        };
        let settings = ServerTls {
            config: tls_files::connecting(&folder.join(&self.ca), own)?,
            server_name,
            handshake_timeout: handshake_timeout(self.handshake_timeout)?,
        };
        for (who, endpoint) in spoken_to {
            if matches!(endpoint, Endpoint::Unix { .. }) {
                return Err(format!("{who}: Redis speaks no TLS on a unix socket"));
            }
            if settings.name_of(endpoint).is_none() {
                return Err(format!(
                    "{who}: {endpoint} is no name that a certificate can have: say server_name"
                ));
            }
        }
        Ok(settings)
    }
}

fn handshake_timeout(milliseconds: Option<u64>) -> Result<Duration, String> {
    match milliseconds {
        Some(0) => Err("handshake_timeout: 0 would fail every handshake".to_owned()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Ok(HANDSHAKE_TIMEOUT),
    }
}
