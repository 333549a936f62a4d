//! The layer of TLS between a stranger's bytes and the engine.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use shoal_proxy::tls::fault::Reason;
use shoal_proxy::tls::layer::{Layer, SEALED_MAX};

/// What a client that shook hands has to say.
const SAID: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";

/// Nothing but what a client sealed comes out as plaintext, and no more is kept for it than bounds say. The first byte says
/// how the stream is cut, the second what the rest is: a whole connection, what follows a handshake, or bytes to be changed in
/// what a client sends.
pub fn tls(bytes: &[u8]) {
    let [cut, kind, rest @ ..] = bytes else { return };
    let piece = usize::from(*cut) + 1;
    match kind % 3 {
        0 => {
            let (whole, cut) = (unshaken(rest, rest.len()), unshaken(rest, piece));
            assert_eq!(whole, cut, "cut otherwise, taken otherwise");
        }
        1 => {
            let (mut server, _) = shaken();
            let mut plain = Vec::new();
            for piece in rest.chunks(piece) {
                if server.handle_bytes(piece, &mut plain).is_err() {
                    break;
                }
            }
            assert!(plain.is_empty(), "plaintext that nobody has sealed");
            assert_bounded(&mut server);
        }
        _ => changed(rest, piece),
    }
}

/// How the server's side takes `stream` as a whole connection: it is still shaking hands, or why not.
fn unshaken(stream: &[u8], piece: usize) -> Option<Reason> {
    let mut server = Layer::accept(&configurations().0).expect("a server's side");
    let mut plain = Vec::new();
    let mut refused = None;
    for piece in stream.chunks(piece.max(1)) {
        if let Err(fault) = server.handle_bytes(piece, &mut plain) {
            refused = Some(fault.reason);
            break;
        }
    }
    assert!(plain.is_empty() && server.is_shaking_hands(), "nobody guesses a key");
    assert_bounded(&mut server);
    refused
}

/// Pairs of bytes, a place and what is changed there, in what a client sends after its handshake.
fn changed(pairs: &[u8], piece: usize) {
    let (mut server, mut client) = shaken();
    assert_eq!(client.seal(SAID), SAID.len());
    let mut wire = sealed(&mut client);
    for pair in pairs.chunks_exact(2) {
        let place = usize::from(pair[0]) % wire.len();
        wire[place] ^= pair[1];
    }
    let mut plain = Vec::new();
    for piece in wire.chunks(piece) {
        if server.handle_bytes(piece, &mut plain).is_err() {
            break;
        }
    }
    assert!(SAID.starts_with(&plain), "changed on the way, and taken");
    assert_bounded(&mut server);
}

fn assert_bounded(server: &mut Layer) {
    server.close();
    // A flight of its handshake or an alert, besides plaintext of which there is none.
    assert!(sealed(server).len() <= SEALED_MAX, "answers without end");
}

fn sealed(layer: &mut Layer) -> Vec<u8> {
    let mut wire = Vec::new();
    while layer.has_sealed() {
        layer.send(&mut wire).expect("memory takes it");
    }
    wire
}

/// Two sides that have shaken hands.
fn shaken() -> (Layer, Layer) {
    let (server, client) = configurations();
    let mut server = Layer::accept(server).expect("a server's side");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = Layer::connect(client, name).expect("a client's side");
    while server.is_shaking_hands() || client.is_shaking_hands() {
        let mut plain = Vec::new();
        server.handle_bytes(&sealed(&mut client), &mut plain).expect("an honest client");
        client.handle_bytes(&sealed(&mut server), &mut plain).expect("an honest server");
    }
    (server, client)
}

fn configurations() -> &'static (Arc<ServerConfig>, Arc<ClientConfig>) {
    static MADE: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a pair");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    })
}
