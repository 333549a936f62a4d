//! Certificates and keys, from their files to what rustls takes.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::secret_file;
use crate::tls::certificate::validity;

/// The configuration of the side that accepts, and when its certificate expires, in seconds since the Unix epoch. With
/// `client_ca`, clients must show a certificate that is signed by one in that file.
///
/// # Errors
/// In words that name the file and say what is wrong with it.
pub fn accepting(
    cert: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<(Arc<ServerConfig>, u64), String> {
    let (chain, private, expires_at) = identity(cert, key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| format!("client_ca: {}: {error}", file.display()))?,
            )
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|error| unfit(cert, key, &error))?;
    // Every connection shows its certificate anew: nothing of what an older configuration accepted outlives it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), expires_at))
}

/// The configuration of the side that connects: to servers whose certificates are signed by one in `ca`. `own` are the files
/// of certificate and key that are shown to servers that ask.
///
/// # Errors
/// In words that name the file and say what is wrong with it.
pub fn connecting(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, String> {
    let roots = authorities(ca)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (chain, private, _) = identity(cert, key)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| unfit(cert, key, &error))?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, u64);

/// A certificate with those that lead from it to an authority, its key, and when it expires.
fn identity(cert: &Path, key: &Path) -> Result<Identity, String> {
    let chain = certificates(cert)?;
    let shown = cert.display();
    let validity = validity(&chain[0]).map_err(|why| format!("{shown}: not a certificate: {why}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if now.as_secs() > validity.not_after {
        return Err(format!("{shown}: the certificate has expired, at {}", instant(validity.not_after)));
    }
    if now.as_secs() < validity.not_before {
        return Err(format!("{shown}: the certificate is not valid before {}", instant(validity.not_before)));
    }
    let text = secret_file::read(key)?;
    let private = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY") => {
            format!("{}: the key is encrypted: write it without a passphrase (openssl pkey)", key.display())
        }
        error => format!("{}: {}", key.display(), pem_words("private key", &error)),
    })?;
    Ok((chain, private, validity.not_after))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| format!("{shown}: {error}"))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let read = read.map_err(|error| format!("{shown}: {}", pem_words("certificate", &error)))?;
    match read.is_empty() {
        true => Err(format!("{shown}: {}", pem_words("certificate", &pem::Error::NoItemsFound))),
        false => Ok(read),
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(roots)
}

fn pem_words(what: &str, error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => {
            format!(
                "no {what} is in it: it must be PEM, with a line -----BEGIN … {}-----",
                what.to_uppercase()
            )
        }
        error => format!("not PEM as it should be: {error}"),
    }
}

fn unfit(cert: &Path, key: &Path, error: &rustls::Error) -> String {
    let (cert, key) = (cert.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => format!("{key} is not the key of the certificate in {cert}"),
        error => format!("{cert} with {key}: {error}"),
    }
}

fn instant(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + std::time::Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests;
