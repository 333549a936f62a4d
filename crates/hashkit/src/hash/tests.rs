//! The hashes against Twemproxy's own functions, and against what is published of each algorithm.

use super::*;
use crate::testdata;

#[test]
fn twemproxy_own_values() {
    let rows = testdata::tsv(include_str!("../../../../testdata/hashkit/hashes/hashes.tsv"));
    assert_eq!(rows.len(), 112);
    for row in rows {
        let sign: CharSign = row[0].parse().unwrap();
        let key = testdata::unhex(row[1]);
        assert_eq!(row.len() - 2, Hash::ALL.len());
        for (hash, expected) in Hash::ALL.iter().zip(&row[2..]) {
            let found = hash.hash(sign, &key);
            assert_eq!(format!("{found:08x}"), *expected, "{hash} {sign} of {}", row[1]);
        }
    }
}

#[test]
fn an_empty_key_is_0_under_every_hash() {
    for hash in Hash::ALL {
        assert_eq!(hash.hash(CharSign::Signed, b""), 0, "{hash}");
    }
    assert_eq!(jenkins::lookup3(b""), 0xdead_beef + 13);
    assert_eq!(md5(b""), 0xd98c_1dd4);
}

#[test]
fn the_sign_matters_to_six_and_only_above_0x7f() {
    let differs = |key: &[u8]| {
        let differing = |hash: &Hash| hash.hash(CharSign::Signed, key) != hash.hash(CharSign::Unsigned, key);
        Hash::ALL.iter().copied().filter(differing).collect::<Vec<_>>()
    };
    use Hash::{Fnv1_32, Fnv1_64, Fnv1a32, Fnv1a64, Hsieh, OneAtATime};
    assert_eq!(differs(b"\x7f\x7f\x7f"), []);
    assert_eq!(differs(b"\xff\xfe\xfd"), [OneAtATime, Fnv1_64, Fnv1a64, Fnv1_32, Fnv1a32, Hsieh]);
    // hsieh widens a byte only where the length leaves three.
    assert_eq!(differs(b"\xff\xfe"), [OneAtATime, Fnv1_64, Fnv1a64, Fnv1_32, Fnv1a32]);
}

#[test]
fn catalogue_check_values() {
    assert_eq!(crc::crc16(b"123456789"), 0x31c3);
    assert_eq!(crc::crc32(b"123456789"), 0xcbf4_3926);
    // FNV-1a of "foobar" in 64 bits is 0x85944171f73967e8.
    assert_eq!(Hash::Fnv1a64.hash(CharSign::Signed, b"foobar"), 0xf739_67e8);
}

#[test]
fn names_are_twemproxys_and_exact() {
    assert_eq!(
        Hash::ALL.iter().map(Hash::to_string).collect::<Vec<_>>().join(" "),
        "one_at_a_time md5 crc16 crc32 crc32a fnv1_64 fnv1a_64 fnv1_32 fnv1a_32 hsieh murmur jenkins"
    );
    for &hash in Hash::ALL {
        assert_eq!(hash.name().parse(), Ok(hash));
    }
    assert_eq!(Hash::default().name(), "fnv1a_64");
    assert_eq!(
        "MD5".parse::<Hash>().unwrap_err().to_string(),
        "unknown hash \"MD5\" (valid: one_at_a_time, md5, crc16, crc32, crc32a, fnv1_64, fnv1a_64, fnv1_32, \
         fnv1a_32, hsieh, murmur, jenkins)"
    );
    assert_eq!(
        "char".parse::<CharSign>().unwrap_err().to_string(),
        "unknown char sign \"char\" (valid: signed, unsigned)"
    );
}
