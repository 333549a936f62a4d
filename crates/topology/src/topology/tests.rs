use super::*;
use proptest::prelude::*;
use shoal_hashkit::redis_shard;

/// A cache pool called alpha of shards s0, s1, ... at 10.0.0.1:7000, 10.0.0.1:7001, ...
pub(crate) fn pool(shards: u16) -> Pool {
    let shard = |i: u16| Shard {
        name: format!("s{i}"),
        weight: 1,
        primary: Endpoint::Tcp { host: "10.0.0.1".to_owned(), port: 7000 + i },
        replicas: Vec::new(),
        state: ShardState::Up,
    };
    Pool {
        name: "alpha".to_owned(),
        mode: Mode::Cache,
        hash: Hash::Fnv1a64,
        char_sign: CharSign::Signed,
        distribution: Distribution::Ketama,
        hash_tag: None,
        shards: (0..shards).map(shard).collect(),
        credentials: None,
    }
}

const FULL: &str = r#"{
  "format": 1,
  "epoch": 41,
  "pools": [
    {
      "name": "alpha",
      "mode": "storage",
      "hash": "crc32a",
      "char_sign": "unsigned",
      "distribution": "modula",
      "hash_tag": "{}",
      "shards": [
        {
          "name": "one",
          "weight": 3,
          "primary": "[::1]:6379",
          "replicas": [
            "redis-2.example:6379",
            "/run/redis.sock"
          ]
        }
      ],
      "credentials": {
        "file": "alpha.secret"
      }
    },
    {
      "name": "beta",
      "mode": "cache",
      "hash": "fnv1a_64",
      "char_sign": "signed",
      "distribution": {
        "redis_shard": {
          "hash": "md5",
          "tags": "bytes"
        }
      },
      "shards": [
        {
          "name": "node1",
          "primary": "127.0.0.1:6379",
          "state": "ejected"
        }
      ]
    }
  ]
}
"#;

#[test]
fn json_says_every_field_and_comes_back() {
    let topology = Topology::from_json(FULL.as_bytes()).unwrap();
    assert_eq!(topology.to_json(), FULL);
    let [alpha, beta] = topology.pools.as_slice() else { panic!("two pools") };
    assert_eq!((alpha.hash, alpha.char_sign), (Hash::Crc32a, CharSign::Unsigned));
    assert_eq!(alpha.hash_tag, Some(HashTag { open: b'{', close: b'}' }));
    assert_eq!(alpha.shards[0].primary, Endpoint::Tcp { host: "::1".to_owned(), port: 6379 });
    assert_eq!(alpha.shards[0].replicas.len(), 2);
    let (hash, tags) = (redis_shard::Hash::Md5, redis_shard::Tags::Bytes);
    assert_eq!(beta.distribution, Distribution::RedisShard { hash, tags });
    assert_eq!(beta.live(), [false]);
    assert_eq!(topology.pool("beta"), Some(beta));
    assert_eq!(topology.pool("gamma"), None);
}

#[test]
fn json_defaults_are_twemproxys() {
    let json = r#"{"format":1,"epoch":0,"pools":[{"name":"a","mode":"cache","distribution":"ketama",
        "shards":[{"name":"s","primary":"h:1"}]}]}"#;
    let topology = Topology::from_json(json.as_bytes()).unwrap();
    let pool = &topology.pools[0];
    assert_eq!((pool.hash, pool.char_sign, pool.hash_tag), (Hash::Fnv1a64, CharSign::Signed, None));
    assert_eq!((pool.shards[0].weight, pool.shards[0].state), (1, ShardState::Up));
}

#[test]
fn json_errors_name_the_path() {
    let cases = [
        (FULL.replace("crc32a", "crc33"), "pools[0].hash", "unknown hash \"crc33\""),
        (FULL.replace("\"weight\"", "\"wieght\""), "pools[0].shards[0].wieght", "unknown field `wieght`"),
        (FULL.replace("[::1]:6379", "[::1]"), "pools[0].shards[0].primary", "is no endpoint"),
        (FULL.replace("/run/redis.sock", "x:0"), "pools[0].shards[0].replicas[1]", "not in 1 to 65535"),
        (FULL.replace("\"{}\"", "\"{\""), "pools[0].hash_tag", "not exactly two bytes"),
        (FULL.replace("\"storage\"", "\"stored\""), "pools[0].mode", "unknown variant `stored`"),
        (FULL.replace("\"tags\"", "\"tag\""), "pools[1].distribution", "unknown field `tag`"),
        (FULL.replace("41", "-1"), "epoch", "invalid value"),
        (FULL.replace("41", "41.5"), "epoch", "invalid type"),
        (format!("{FULL}{{}}"), "the end", "trailing characters"),
    ];
    for (json, at, why) in cases {
        let error = Topology::from_json(json.as_bytes()).unwrap_err();
        assert!(matches!(&error, Error::Json { path, .. } if path.starts_with(at)), "{at}: {error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(why) && source.contains("line"), "{at}: {source}");
    }
}

#[test]
fn json_is_validated() {
    let json = FULL.replace("\"weight\": 3", "\"weight\": 0");
    assert!(matches!(Topology::from_json(json.as_bytes()), Err(Error::Weight { weight: 0, .. })));
    let json = FULL.replace("\"format\": 1", "\"format\": 2");
    assert!(matches!(Topology::from_json(json.as_bytes()), Err(Error::Format(2))));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        prop_assert!(Topology::from_json(&bytes).is_err());
    }

    #[test]
    fn a_cut_or_bent_document_never_panics(at in 0..FULL.len(), byte: u8) {
        prop_assert!(Topology::from_json(&FULL.as_bytes()[..at.min(FULL.len() - 3)]).is_err());
        let mut bent = FULL.as_bytes().to_vec();
        bent[at] = byte;
        if let Ok(topology) = Topology::from_json(&bent) {
            prop_assert_eq!(Topology::from_json(topology.to_json().as_bytes()).unwrap(), topology);
        }
    }
}
