//! Certificates made for one test, and a client that speaks TLS and looks at what it is shown.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::raw_client::{encode, reply_len};
use crate::wait;

/// A certificate authority, with its certificate in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its certificate.
    pub file: PathBuf,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: PathBuf,
    /// The key, readable by its owner alone.
    pub key: PathBuf,
}

impl Authority {
    /// One called `name`, whose certificate is written into `folder`.
    ///
    /// # Panics
    /// When that cannot be done.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let file = folder.join(format!("{name}.ca.crt"));
        write(&file, &issuer.pem());
        Self { issuer, file }
    }

    /// A certificate for 127.0.0.1 and `localhost`, written into `folder` under `name`.
    #[must_use]
    pub fn issue(&self, folder: &Path, name: &str) -> Identity {
        self.issue_for(folder, name, &["127.0.0.1", "localhost"], 4000)
    }

    /// A certificate for these names, that expires with the year before `until`.
    ///
    /// # Panics
    /// When it cannot be made or written.
    #[must_use]
    pub fn issue_for(&self, folder: &Path, name: &str, names: &[&str], until: i32) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let identity =
            Identity { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
        write(&identity.cert, &certificate.pem());
        write(&identity.key, &key.serialize_pem());
        identity
    }
}

impl Identity {
    /// The certificate as it is sent.
    ///
    /// # Panics
    /// When its file is gone.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.cert).expect("a certificate")
    }

    /// `cert: …, key: …`, as it stands in a `proxy.yml`.
    #[must_use]
    pub fn yaml(&self) -> String {
        format!("cert: {}, key: {}", self.cert.display(), self.key.display())
    }
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).expect("write a file");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("close a file to others");
}

/// What a client's configuration is made of: whom it trusts, what it shows, and the only version it speaks.
#[derive(Clone, Debug)]
pub struct Trust<'t> {
    /// The authority's file.
    pub authority: &'t Path,
    /// Its own certificate.
    pub own: Option<&'t Identity>,
    /// One version of TLS, or all.
    pub version: Option<&'static SupportedProtocolVersion>,
}

impl<'t> Trust<'t> {
    /// Trust in `authority`, without a certificate of one's own.
    #[must_use]
    pub fn in_authority(authority: &'t Authority) -> Self {
        Self { authority: &authority.file, own: None, version: None }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(self.authority).expect("a certificate"))
            .expect("an authority");
        let versions = self.version.as_ref().map_or(rustls::ALL_VERSIONS, std::slice::from_ref);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("a version")
            .with_root_certificates(roots);
        Arc::new(match self.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
                builder.with_client_auth_cert(vec![own.der()], key).expect("a pair")
            }
        })
    }
}

/// A connection by TLS.
#[derive(Debug)]
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
}

impl TlsClient {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// The socket's, and those of the handshake.
    pub fn connect(addr: SocketAddr, trust: &Trust<'_>) -> io::Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(wait::DEADLINE * 3))?;
        let name = ServerName::from(addr.ip());
        let connection = ClientConnection::new(trust.config(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, read: Vec::new() })
    }

    /// The certificate that the other side showed.
    ///
    /// # Panics
    /// When it showed none.
    #[must_use]
    pub fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends one command and gives its reply.
    ///
    /// # Errors
    /// When no whole reply comes.
    pub fn try_call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Vec<u8>> {
        self.send(&encode(words))?;
        self.reply()
    }

    /// The next frame.
    ///
    /// # Errors
    /// When no whole one comes.
    pub fn reply(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(len) = reply_len(&self.read) {
                return Ok(self.read.drain(..len).collect());
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.read.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Sends one command and gives its reply, as text.
    ///
    /// # Panics
    /// When no whole reply comes.
    #[track_caller]
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> String {
        match self.try_call(words) {
            Ok(reply) => String::from_utf8_lossy(&reply).into_owned(),
            Err(error) => panic!("no reply: {error}"),
        }
    }

    /// Reads exactly as many bytes as `into` has.
    ///
    /// # Errors
    /// The socket's, or an end before.
    pub fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let known = self.read.len().min(into.len());
        into[..known].copy_from_slice(&self.read[..known]);
        self.read.drain(..known);
        self.stream.read_exact(&mut into[known..])
    }

    /// Reads to the end, which must be said by TLS and not by the socket alone.
    ///
    /// # Errors
    /// The socket's, and that of an end which TLS did not say.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = std::mem::take(&mut self.read);
        self.stream.read_to_end(&mut all)?;
        Ok(all)
    }

    /// Seals `bytes` and sends nothing: the records that would go out.
    ///
    /// # Panics
    /// When TLS does not take them.
    #[must_use]
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        self.stream.conn.writer().write_all(bytes).expect("TLS takes it");
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut records).expect("memory takes it");
        }
        records
    }

    /// The socket underneath.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }
}
