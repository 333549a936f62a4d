use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;

use super::*;

/// A server's and a client's configuration that fit.
fn configurations(authority_name: &str) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, authority_name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server.unwrap()), Arc::new(client))
}

fn pair() -> (Layer, Layer) {
    let (server, client) = configurations("ours");
    (
        Layer::accept(&server).unwrap(),
        Layer::connect(&client, ServerName::try_from("localhost").unwrap()).unwrap(),
    )
}

/// Carries what `from` has sealed over to `to`, `piece` bytes at a time; the plaintext that came out.
fn carry(from: &mut Layer, to: &mut Layer, piece: usize) -> Result<Vec<u8>, Fault> {
    let (mut wire, mut plain) = (Vec::new(), Vec::new());
    while from.has_sealed() {
        from.send(&mut wire).unwrap();
    }
    for piece in wire.chunks(piece) {
        to.handle_bytes(piece, &mut plain)?;
    }
    Ok(plain)
}

fn shake_hands(server: &mut Layer, client: &mut Layer, piece: usize) {
    for _ in 0..8 {
        assert_eq!(carry(client, server, piece).unwrap(), b"");
        assert_eq!(carry(server, client, piece).unwrap(), b"");
    }
    assert!(!server.is_shaking_hands() && !client.is_shaking_hands());
}

#[test]
fn what_goes_in_comes_out_however_the_stream_is_cut() {
    for piece in [1, 2, 5, 100, 4096, 65_536, 1_000_000] {
        let (mut server, mut client) = pair();
        shake_hands(&mut server, &mut client, piece);
        let sent: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
        let mut received = Vec::new();
        let mut at = 0;
        while at < sent.len() {
            at += client.seal(&sent[at..]);
            received.extend(carry(&mut client, &mut server, piece).unwrap());
        }
        assert!(received == sent, "pieces of {piece}");
        assert_eq!(server.secured().unwrap().version, "TLSv1.3");
        assert!(!server.is_within_record());
    }
}

#[test]
fn what_is_sealed_and_unsent_is_bounded() {
    let (mut server, mut client) = pair();
    // Before the handshake too.
    assert!(client.seal(&vec![7; 1_000_000]) <= SEALED_MAX);
    shake_hands_with_output(&mut server, &mut client);
    let mut sealed = 0;
    for _ in 0..100 {
        sealed += server.seal(&[1; 10_000]);
    }
    assert!((SEALED_MAX / 2..=SEALED_MAX).contains(&sealed), "{sealed}");
    assert_eq!(carry(&mut server, &mut client, 4096).unwrap().len(), sealed);
    assert_eq!(server.seal(&[1; 10_000]), 10_000);
}

fn shake_hands_with_output(server: &mut Layer, client: &mut Layer) {
    let mut waited = 0;
    for _ in 0..8 {
        waited += carry(client, server, 4096).unwrap().len();
        carry(server, client, 4096).unwrap();
    }
    assert_eq!(waited, SEALED_MAX, "what was taken before the handshake is sent after it");
}

#[test]
fn a_part_of_a_record_is_known_to_be_one() {
    let (mut server, mut client) = pair();
    shake_hands(&mut server, &mut client, 4096);
    client.seal(b"PING\r\n");
    let mut wire = Vec::new();
    client.send(&mut wire).unwrap();
    let mut plain = Vec::new();
    let (last, before) = wire.split_last().unwrap();
    for byte in before {
        server.handle_bytes(&[*byte], &mut plain).unwrap();
        assert!(server.is_within_record() && plain.is_empty());
    }
    server.handle_bytes(&[*last], &mut plain).unwrap();
    assert!(!server.is_within_record());
    assert_eq!(plain, b"PING\r\n");
}

#[test]
fn an_end_is_told_after_all_that_came_before_it() {
    let (mut server, mut client) = pair();
    shake_hands(&mut server, &mut client, 4096);
    client.seal(b"QUIT\r\n");
    client.close();
    assert_eq!(carry(&mut client, &mut server, 4096).unwrap(), b"QUIT\r\n");
    assert!(server.has_ended());
    // The other direction is open still.
    server.seal(b"+OK\r\n");
    assert_eq!(carry(&mut server, &mut client, 4096).unwrap(), b"+OK\r\n");
}

#[test]
fn what_is_no_tls_is_seen_by_its_first_byte() {
    for hello in [&b"*1\r\n$4\r\nPING\r\n"[..], b"PING\r\n", b"GET / HTTP/1.1\r\n", b"\x80\x2e\x01", b"\0"] {
        let (mut server, _) = pair();
        let refused = server.handle_bytes(&hello[..1], &mut Vec::new());
        assert_eq!(refused, Err(Fault::of(Reason::NotTls)));
    }
}

#[test]
fn a_byte_that_was_changed_on_the_way_is_an_error_and_not_plaintext() {
    let (mut server, mut client) = pair();
    shake_hands(&mut server, &mut client, 4096);
    client.seal(b"SET key value\r\n");
    let mut wire = Vec::new();
    client.send(&mut wire).unwrap();
    *wire.last_mut().unwrap() ^= 1;
    let mut plain = Vec::new();
    assert_eq!(server.handle_bytes(&wire, &mut plain).unwrap_err().reason, Reason::Protocol);
    assert!(plain.is_empty() && server.has_sealed(), "an alert says so");
}

#[test]
fn a_server_that_is_not_trusted_gets_no_plaintext() {
    let (mut server, _) = pair();
    let (_, stranger) = configurations("another");
    let mut client = Layer::connect(&stranger, ServerName::try_from("localhost").unwrap()).unwrap();
    client.seal(b"AUTH secret\r\n");
    assert_eq!(carry(&mut client, &mut server, 4096).unwrap(), b"");
    let fault = carry(&mut server, &mut client, 4096).unwrap_err();
    assert_eq!(fault.reason, Reason::BadCertificate);
    assert!(fault.words.contains("no certificate authority that is trusted here"), "{fault}");
    let alert = carry(&mut client, &mut server, 4096);
    assert_eq!(alert.unwrap_err().reason, Reason::Refused);
}
