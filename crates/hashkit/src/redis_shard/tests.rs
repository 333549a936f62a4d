//! The ring against what redis-shard itself answered (`testdata/hashkit/redis_shard`).

use super::*;
use crate::testdata;
use proptest::prelude::*;
use sha2::Sha256;

const NODES: [&str; 4] = ["node1", "node2", "node3", "node4"];

fn ring(hash: Hash, tags: Tags) -> Ring {
    Ring::new(hash, tags, &NODES).unwrap()
}

#[test]
fn redis_shard_own_placements() {
    let rows = testdata::tsv(include_str!("../../../../testdata/hashkit/redis_shard/placements.tsv"));
    assert_eq!(rows.len(), 414);
    for row in rows {
        let (tags, hash) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        let found = match ring(hash, tags).lookup(&testdata::unhex(row[2])) {
            Ok(node) => NODES[node.unwrap()],
            Err(Error::KeyBeyondLatin1) => "beyond Latin-1",
            Err(Error::KeyNotUtf8) => "not UTF-8",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, row[3], "{tags} {hash} {}", row[2]);
    }
}

#[test]
fn a_hundred_thousand_keys() {
    let expected = [
        (Hash::Crc32, "0945e2a2fedb3660"),
        (Hash::Md5, "8902ab9ce52070b6"),
        (Hash::Sha1, "9774131f81e9f0e6"),
    ];
    for (hash, expected) in expected {
        let ring = ring(hash, Tags::Text);
        let owner = |i| ring.lookup(format!("key:{i}").as_bytes()).unwrap().unwrap();
        let digits: String = (0..100_000).map(|i| char::from(b"1234"[owner(i)])).collect();
        let digest: String = Sha256::digest(digits).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest[..16], *expected, "{hash}");
    }
}

#[test]
fn the_ring_does_not_wrap() {
    let ring = ring(Hash::Crc32, Tags::Text);
    let low = |digest: Digest| u32::from_be_bytes([digest[16], digest[17], digest[18], digest[19]]);
    assert_eq!((low(ring.points[0]), ring.nodes[0]), (0x0081_b9a2, 0));
    assert_eq!((low(ring.points[511]), ring.nodes[511]), (0xfffc_ff98, 1));
    assert_eq!(crc::crc32(b"w32979"), 0xfffe_9885);
    assert_eq!(ring.lookup(b"w32979"), Ok(Some(1)));
}

#[test]
fn a_point_belongs_to_what_comes_after_it() {
    // The key that hashes to a point exactly goes to the next point: strictly above.
    let ring = ring(Hash::Sha1, Tags::Bytes);
    for index in [0, 1, 255, 510] {
        let name = (0..4).flat_map(|node| (0..128).map(move |i| format!("node{}:{i}", node + 1)));
        let key =
            name.into_iter().find(|name| Hash::Sha1.digest(name.as_bytes()) == ring.points[index]).unwrap();
        assert_eq!(ring.lookup(key.as_bytes()), Ok(Some(ring.nodes[index + 1] as usize)));
    }
}

#[test]
fn of_two_nodes_of_one_name_the_later_owns_all() {
    let ring = Ring::new(Hash::Crc32, Tags::Text, &["same", "same"]).unwrap();
    assert!((0..1000).all(|i| ring.lookup(format!("key:{i}").as_bytes()) == Ok(Some(1))));
}

#[test]
fn names_are_latin1_too() {
    assert_eq!(
        Ring::new(Hash::Crc32, Tags::Bytes, &["a", "节点"]),
        Err(Error::NameBeyondLatin1("节点".to_owned()))
    );
    let latin = |tags| Ring::new(Hash::Md5, tags, &["café"]).unwrap().points;
    assert_eq!(latin(Tags::Text), latin(Tags::Bytes));
    assert_ne!(latin(Tags::Text), latin(Tags::Python2));
}

#[test]
fn no_nodes_no_owner() {
    assert_eq!(Ring::new::<&str>(Hash::Crc32, Tags::Text, &[]).unwrap().lookup(b"a"), Ok(None));
}

proptest! {
    #[test]
    fn every_key_has_an_owner_unless_it_is_text_that_python_could_not_encode(key: Vec<u8>) {
        for &hash in Hash::ALL {
            for tags in [Tags::Bytes, Tags::Python2] {
                prop_assert!(matches!(ring(hash, tags).lookup(&key), Ok(Some(0..4))));
            }
        }
        let text = ring(Hash::Crc32, Tags::Text).lookup(&key);
        match str::from_utf8(&key) {
            Err(_) => prop_assert_eq!(text, Err(Error::KeyNotUtf8)),
            Ok(key) if key.is_ascii() => prop_assert!(matches!(text, Ok(Some(0..4)))),
            Ok(_) => prop_assert!(text != Err(Error::KeyNotUtf8)),
        }
    }
}
