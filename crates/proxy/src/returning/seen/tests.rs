use super::*;

const OWN: &str = "shoal:demo:a";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A server that has run for 1,000 s, holds keys, and that nobody uses.
fn old() -> Seen {
    Seen {
        clock: 5_000_000_000,
        run_id: "r1".into(),
        uptime: seconds(1000),
        loaded_nothing: true,
        keys: 3,
        marker: None,
        connections: Vec::new(),
    }
}

fn connection(name: &str, age: u64, idle: u64) -> Connection {
    Connection { id: age, name: name.into(), age: seconds(age), idle: seconds(idle) }
}

fn marked(seconds_ago: u64, run_id: &str) -> Seen {
    let marker = Some(format!("{} {run_id} shoal:demo:b", 5_000_000_000 - seconds_ago * 1_000_000));
    Seen { marker, ..old() }
}

fn used_by(connections: &[Connection]) -> Seen {
    Seen { connections: connections.to_vec(), ..old() }
}

#[test]
fn the_rule() {
    let other = "shoal:demo:b";
    let cases = [
        ("nobody knows anything", old(), Verdict::MustBeEmptied),
        ("no keys", Seen { keys: 0, ..old() }, Verdict::HoldsNothing),
        ("a fresh process", Seen { uptime: seconds(8), ..old() }, Verdict::StartedEmpty),
        (
            "a process that loaded a file",
            Seen { uptime: seconds(8), loaded_nothing: false, ..old() },
            Verdict::MustBeEmptied,
        ),
        ("perhaps started before", Seen { uptime: seconds(9), ..old() }, Verdict::MustBeEmptied),
        ("emptied since", marked(9, "r1"), Verdict::EmptiedSince),
        ("emptied before", marked(11, "r1"), Verdict::MustBeEmptied),
        ("a marker that was loaded", marked(9, "r0"), Verdict::MustBeEmptied),
        ("a marker of the future", Seen { clock: 4_000_000_000, ..marked(0, "r1") }, Verdict::MustBeEmptied),
        ("a marker of somebody else", Seen { marker: Some("x".into()), ..old() }, Verdict::MustBeEmptied),
        ("in use all along", used_by(&[connection(other, 500, 400)]), Verdict::InUse),
        ("in use since", used_by(&[connection(other, 9, 0)]), Verdict::MustBeEmptied),
        ("our own left behind", used_by(&[connection(OWN, 500, 10)]), Verdict::MustBeEmptied),
        (
            "reconnected at once after a restart that loaded a file",
            Seen { uptime: seconds(10), loaded_nothing: false, ..used_by(&[connection(other, 10, 0)]) },
            Verdict::MustBeEmptied,
        ),
    ];
    for (what, seen, verdict) in cases {
        assert_eq!(seen.verdict(seconds(10), OWN), verdict, "{what}");
    }
}

#[test]
fn what_is_left_behind_must_end() {
    let seen = used_by(&[
        connection(OWN, 500, 10),
        connection("shoal:demo:b", 400, 10),
        connection("shoal:demo:b", 300, 1),
    ]);
    assert_eq!(seen.left_behind(seconds(10), OWN, false), [500]);
    assert_eq!(seen.left_behind(seconds(10), OWN, true), [500, 400]);
}

#[test]
fn replies_are_read_and_what_is_missing_is_said() {
    let info = "run_id:r1\r\nuptime_in_seconds:7\r\nloading:0\r\nrdb_last_load_keys_loaded:0\r\naof_enabled:0\r\nrole:master\r\n";
    let clients = "id=3 addr=127.0.0.1:5 name= age=1 idle=0 db=0\n\
                   id=4 addr=127.0.0.1:6 name=shoal:demo:b age=8 idle=2 flags=N db=0 sub=0\n\
                   id=5 addr=127.0.0.1:7 name=shoal:demo:b age=8 idle=2 flags=N db=1 sub=0\n";
    let text = |text: &str| Reply::Text(text.into());
    let replies = |info: &str| {
        vec![
            text("OK"),
            text("OK"),
            text(info),
            Reply::List(vec![text("12"), text("34")]),
            Reply::Integer(2),
            Reply::Null,
            text(clients),
        ]
    };
    let seen = Seen::read(&replies(info), 0).unwrap();
    assert_eq!((seen.clock, seen.uptime, seen.loaded_nothing, seen.keys), (12_000_034, seconds(7), true, 2));
    let ours = Connection { id: 4, name: "shoal:demo:b".into(), age: seconds(8), idle: seconds(2) };
    assert_eq!((seen.marker.as_ref(), &seen.connections[..]), (None, &[ours][..]));
    assert_eq!(seen.mark("shoal:demo:a"), "12000034 r1 shoal:demo:a");
    for (without, why) in [
        ("loading:0", "it is loading its data"),
        ("role:master", "it is a replica"),
        ("run_id:r1", "its INFO tells no run_id"),
    ] {
        assert_eq!(Seen::read(&replies(&info.replace(without, "")), 0).unwrap_err(), why);
    }
    // An older server does not tell what it loaded; one with an append-only file may have loaded more.
    for (said, otherwise) in [("rdb_last_load_keys_loaded:0", ""), ("aof_enabled:0", "aof_enabled:1")] {
        assert!(!Seen::read(&replies(&info.replace(said, otherwise)), 0).unwrap().loaded_nothing);
    }
    let mut refused = replies(info);
    refused[6] = Reply::Error("NOPERM this user has no permissions".into());
    assert!(Seen::read(&refused, 0).unwrap_err().starts_with("NOPERM"));
}

#[test]
fn fitness_is_told_by_info() {
    assert_eq!(judge_fitness("loading:0\r\nrole:master\r\n"), Ok(()));
}
