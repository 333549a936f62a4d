//! Placement against what the real nutcracker did (`testdata/hashkit/placements`, `from_nutcracker`).

use crate::{CharSign, Continuum, Distribution, Hash, HashTag, Member, Random, server_order, testdata};
use serde_json::Value;

/// A pool as a configuration file has it: servers as listed, not in server order.
struct Pool {
    hash: Hash,
    tag: Option<HashTag>,
    /// The listed index of the server at each place of the server order.
    order: Vec<usize>,
    continuum: Continuum,
}

impl Pool {
    fn new(distribution: Distribution, hash: Hash, tag: Option<HashTag>, listed: &[Member<'_>]) -> Pool {
        let names: Vec<&str> = listed.iter().map(|member| member.name).collect();
        let order = server_order(&names);
        let members: Vec<Member<'_>> = order.iter().map(|&i| listed[i]).collect();
        Pool { hash, tag, continuum: Continuum::new(distribution, &members), order }
    }

    /// The listed index of the server that owns `key`.
    fn owner(&self, key: &[u8]) -> usize {
        let part = self.tag.map_or(key, |tag| tag.hashed_part(key));
        let found = self.continuum.lookup(self.hash.hash(CharSign::Signed, part));
        self.order[found.unwrap()]
    }
}

#[test]
fn three_pools_over_four_servers() {
    let members = |names: [&'static str; 4], weights: [u32; 4]| -> Vec<Member<'static>> {
        names.iter().zip(weights).map(|(name, weight)| Member { name, weight, live: true }).collect()
    };
    let addresses = ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003", "127.0.0.1:7004"];
    let names = ["zeta", "b", "alpha", "c"];
    let braces = Some(HashTag { open: b'{', close: b'}' });
    let weighted = members(addresses, [1, 2, 1, 1]);
    let weighted = Pool::new(Distribution::Ketama, Hash::Fnv1a64, None, &weighted);
    let named = Pool::new(Distribution::Ketama, Hash::Fnv1a64, None, &members(names, [1; 4]));
    let tagged = Pool::new(Distribution::Modula, Hash::Crc32a, braces, &members(names, [1, 2, 1, 1]));
    let rows = testdata::tsv(include_str!("../../../../testdata/hashkit/placements/placements.tsv"));
    assert_eq!(rows.len(), 41);
    for row in rows {
        let pool = match row[0] {
            "weighted" => &weighted,
            "named" => &named,
            "tagged" => &tagged,
            other => panic!("no pool {other}"),
        };
        assert_eq!((pool.owner(row[1].as_bytes()) + 1).to_string(), row[2], "{} {}", row[0], row[1]);
    }
}

#[test]
fn every_hash_and_distribution_as_nutcracker() {
    let made = include_str!("../../../../testdata/hashkit/from_nutcracker/placements.json");
    let asked = compare(&serde_json::from_str(made).unwrap());
    assert_eq!(asked, 160 * 11 * 2 * 12);
}

/// The same with new and many keys, from the nutcracker on PATH. Run it with `--ignored`.
#[test]
#[ignore = "runs python3 and the real nutcracker for minutes"]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "asks the real nutcracker")]
fn many_keys_as_the_installed_nutcracker() {
    let keys = std::env::var("HASHKIT_KEYS").unwrap_or_else(|_| "10000".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/hashkit/from_nutcracker/make.py");
    let output = std::process::Command::new("python3").arg(script).args(["--keys", &keys]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let asked = compare(&serde_json::from_slice(&output.stdout).unwrap());
    assert_eq!(asked, keys.parse::<usize>().unwrap() * 11 * 2 * 12);
}

/// Holds every placement of `made`, which make.py printed, against ours; says how many there were.
fn compare(made: &Value) -> usize {
    let keys: Vec<Vec<u8>> = list(&made["keys"]).iter().map(|key| testdata::unhex(text(key))).collect();
    let mut asked = 0;
    for case in list(&made["lists"]) {
        let listed: Vec<Member<'_>> = list(&case["servers"]).iter().map(member).collect();
        let tag = case["hash_tag"].as_str().map(|tag| tag.parse().unwrap());
        for (distribution, hashes) in case["reached"].as_object().unwrap() {
            for (hash, reached) in hashes.as_object().unwrap() {
                let pool = Pool::new(distribution.parse().unwrap(), hash.parse().unwrap(), tag, &listed);
                assert_eq!(text(reached).len(), keys.len());
                for (key, digit) in keys.iter().zip(text(reached).bytes()) {
                    asked += 1;
                    let place = || format!("{}: {hash} {distribution} {}", case["title"], key.escape_ascii());
                    assert_eq!(pool.owner(key), index(digit), "{}", place());
                }
            }
        }
    }
    compare_random(&made["random"]);
    asked
}

fn compare_random(made: &Value) {
    let number = |field: &str| u32::try_from(made[field].as_u64().unwrap()).unwrap();
    let mut random = Random::seeded(number("seed"));
    let names: Vec<String> = (0..number("servers")).map(|i| format!("r{i}")).collect();
    let members: Vec<_> = names.iter().map(|name| Member { name, weight: 1, live: true }).collect();
    let continuum = Continuum::new(Distribution::Random, &members);
    for digit in text(&made["reached"]).bytes() {
        assert_eq!(continuum.lookup(random.next()), Some(index(digit)));
    }
}

fn member(server: &Value) -> Member<'_> {
    Member {
        name: text(&server["name"]),
        weight: u32::try_from(server["weight"].as_u64().unwrap()).unwrap(),
        live: server["live"].as_bool().unwrap(),
    }
}

/// A digit of base 62: 0 to 9, a to z, A to Z.
fn index(digit: u8) -> usize {
    usize::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'z' => digit - b'a' + 10,
        _ => digit - b'A' + 36,
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
