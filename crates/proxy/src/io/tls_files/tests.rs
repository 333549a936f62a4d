use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

struct Files(tempfile::TempDir);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn certificate(key: &KeyPair, from: i32, until: i32) -> String {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    params.self_signed(key).unwrap().pem()
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let files = Files(tempfile::tempdir().unwrap());
    let key = KeyPair::generate().unwrap();
    let cert = files.write("good.crt", &certificate(&key, 2020, 4000));
    let own = files.write("good.key", &key.serialize_pem());
    let (_, expires_at) = accepting(&cert, &own, Some(&cert)).unwrap();
    assert_eq!(instant(expires_at), "4000-01-01T00:00:00Z");
    connecting(&cert, Some((&cert, &own))).unwrap();

    let missing = files.0.path().join("missing");
    let text = files.write("text", "not PEM at all\n");
    let broken = files.write("broken", "-----BEGIN CERTIFICATE-----\nMII*\n-----END CERTIFICATE-----\n");
    let junk = files.write("junk", "-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\n");
    let expired = files.write("expired", &certificate(&key, 2001, 2002));
    let future = files.write("future", &certificate(&key, 4000, 4001));
    let other = files.write("other", &KeyPair::generate().unwrap().serialize_pem());
    let sealed = files.write(
        "sealed",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nTUlJ\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let open = files.write("open", &key.serialize_pem());
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (cert, key, expected) in [
        (&missing, &own, "missing: No such file"),
        (&text, &own, "text: no certificate is in it"),
        (&broken, &own, "broken: not PEM as it should be"),
        (&junk, &own, "junk: not a certificate"),
        (&expired, &own, "expired: the certificate has expired, at 2002-01-01"),
        (&future, &own, "future: the certificate is not valid before 4000-01-01"),
        (&cert, &missing, "missing: No such file"),
        (&cert, &text, "text: no private key is in it"),
        (&cert, &other, "other is not the key of the certificate in"),
        (&cert, &sealed, "sealed: the key is encrypted"),
        (&cert, &open, "open may be read or written by everybody: chmod 600 it"),
    ] {
        for error in [accepting(cert, key, None).unwrap_err(), {
            let trusted = files.0.path().join("good.crt");
            connecting(&trusted, Some((cert, key))).unwrap_err()
        }] {
            assert!(error.contains(expected), "{error}\nshould have\n{expected}");
        }
    }
    assert!(accepting(&cert, &own, Some(&text)).unwrap_err().contains("text: no certificate"));
    assert!(connecting(&missing, None).unwrap_err().contains("missing: No such file"));
    assert!(connecting(&junk, None).unwrap_err().contains("junk: "));
}
