use shoal_resp::command;
use shoal_resp::request::{Parsed, RequestLimits, parse_request};

use super::*;
use crate::time::Time;

fn user(rules: &str) -> User {
    User::new("app", Rules::parse(rules).unwrap(), Limits::default())
}

fn denied(user: &User, line: &str) -> Option<String> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let (mut raw, mut args) = (Vec::new(), Vec::new());
    shoal_resp::encode::command(&mut raw, &words);
    let parsed = parse_request(&raw, &RequestLimits::default(), &mut args);
    assert!(matches!(parsed, Ok(Parsed::Request { .. })));
    let command = command::lookup(words[0]).unwrap();
    user.denies(command, &raw, &args, &mut Vec::new()).map(|denied| denied.to_string())
}

#[test]
fn every_key_and_every_channel_must_be_allowed() {
    let app = user("on nopass ~app:* &news.* +@all +@scripting");
    for line in [
        "GET app:1",
        "MGET app:1 app:2",
        "RENAME app:1 app:2",
        "EVAL script 1 app:1 x",
        "XREAD COUNT 1 STREAMS app:1 app:2 0 0",
        "OBJECT ENCODING app:1",
        "OBJECT NOSUCH x",
        "SORT app:1 BY nosort STORE app:2",
        "SORT app:1 BY nosort LIMIT 0 10",
        "SUBSCRIBE news.a news.b",
        "UNSUBSCRIBE x",
        "PSUBSCRIBE news.*",
        "PUBLISH news.a app",
        "KEYS *",
        "PING",
    ] {
        assert_eq!(denied(&app, line), None, "{line}");
    }
    let key = "NOPERM this user has no permissions to access one of the keys used as arguments";
    for line in [
        "GET x",
        "MGET app:1 x",
        "MSET app:1 x y app:3",
        "RENAME app:1 x",
        "EVAL script 2 app:1 x",
        "EVAL script many app:1",
        "XREAD STREAMS app:1 x 0 0",
        "XREAD STREAMS app:1",
        "OBJECT ENCODING x",
        "SORT app:1 STORE x",
        "WATCH app:1 x",
        "BLPOP app:1 x 0",
        "ZUNIONSTORE app:d 2 app:1 x",
        "GEORADIUS app:1 1 2 3 m STORE x",
    ] {
        assert_eq!(denied(&app, line).as_deref(), Some(key), "{line}");
    }
    let channel = "NOPERM this user has no permissions to access one of the channels used as arguments";
    for line in ["SUBSCRIBE news.a x", "PSUBSCRIBE news.a*", "SSUBSCRIBE x", "PUBLISH x app", "SPUBLISH x a"]
    {
        assert_eq!(denied(&app, line).as_deref(), Some(channel), "{line}");
    }
    for (line, word) in
        [("SORT app:1 BY w*", "BY"), ("SORT app:1 GET #", "GET"), ("SORT_RO app:1 LIMIT 0 1 GET x", "GET")]
    {
        let words = format!("ERR {word} option of SORT denied due to insufficient ACL permissions.");
        assert_eq!(denied(&app, line), Some(words), "{line}");
    }
}

#[test]
fn a_command_is_denied_by_its_full_name_before_its_keys() {
    let app = user("on nopass ~app:* +@read +config|get");
    let named = |name: &str| Some(format!("NOPERM this user has no permissions to run the '{name}' command"));
    assert_eq!(denied(&app, "SET x 1"), named("set"));
    assert_eq!(denied(&app, "CONFIG SET a b"), named("config|set"));
    assert_eq!(denied(&app, "CONFIG GET a"), None);
    for line in ["AUTH x", "HELLO 3", "RESET", "QUIT"] {
        assert_eq!(denied(&app, line), None, "{line}");
    }
}

#[test]
fn who_enters_is_told_by_name_and_password() {
    let hash = |of: &[u8]| PasswordHash::of(of);
    let with = |rules: &str, passwords: &[&[u8]]| {
        let mut rules = Rules::parse(rules).unwrap();
        passwords.iter().for_each(|password| rules.add_password(hash(password)).unwrap());
        rules
    };
    let named = |name: &str, rules| User::new(name, rules, Limits::default());
    let access = Access::of_users(
        named(DEFAULT_USER, Rules::nothing()),
        vec![
            named("app", with("on ~*", &[b"old", b"new"])),
            named("gone", with("off", &[b"old"])),
            named("free", with("on nopass", &[])),
        ],
        Limits::default(),
    );
    assert_eq!(access.enter(b"app", b"old"), Ok(1));
    assert_eq!(access.enter(b"app", b"new"), Ok(1));
    assert_eq!(access.enter(b"free", b"whatever"), Ok(3));
    for (name, password) in
        [("app", "other"), ("app", ""), ("gone", "old"), ("nobody", "old"), ("default", "")]
    {
        assert_eq!(access.enter(name.as_bytes(), password.as_bytes()), Err(WrongPassword), "{name}");
    }
    assert!(!access.is_open() && access.is_guarded());
    assert!(Access::open().is_open() && !Access::open().is_guarded());
    let one = Access::of_passwords(&[hash(b"a")]);
    assert!(!one.is_open() && !one.is_guarded() && one.enter(b"default", b"a") == Ok(0));
    let shown = format!("{access:?} {:?}", access.user(1).rules);
    assert!(!shown.contains("old") && shown.contains("PasswordHash(…)"), "{shown}");
}

#[test]
fn a_charge_that_one_limit_refuses_is_charged_to_none() {
    let limits = |requests, bytes| Limits {
        max_connections: None,
        requests_per_second: requests,
        bytes_per_second: bytes,
    };
    let user = User::new(DEFAULT_USER, Rules::everything(), limits(Some(3), None));
    let mut access = Access::of_users(user, Vec::new(), limits(None, Some(100)));
    let now = Time::from_micros(77);
    let charge = |access: &Access, bytes| {
        access.charge(access.user(0), now, bytes).map_err(|over| (over.limit, over.value, over.of_user))
    };
    assert_eq!(charge(&access, 100), Ok(()));
    assert_eq!(charge(&access, 1), Err((Limit::BytesPerSecond, 100, false)));
    // The pool has refused it, so the user has two requests left.
    access.limits = Limits::default();
    assert_eq!(charge(&access, 1), Ok(()));
    assert_eq!(charge(&access, 1), Ok(()));
    assert_eq!(charge(&access, 1), Err((Limit::RequestsPerSecond, 3, true)));
    // A reload goes on counting.
    let mut next = Access::of_users(
        User::new("default", Rules::everything(), limits(Some(3), None)),
        Vec::new(),
        Limits::default(),
    );
    next.follow(&access);
    assert_eq!(charge(&next, 1), Err((Limit::RequestsPerSecond, 3, true)));
}

#[test]
fn connections_are_counted_up_to_the_limit() {
    let (meter, limits) = (Meter::default(), Limits { max_connections: Some(2), ..Limits::default() });
    assert_eq!((meter.enter(&limits), meter.enter(&limits), meter.enter(&limits)), (Ok(()), Ok(()), Err(2)));
    meter.leave();
    assert_eq!((meter.enter(&limits), meter.connections()), (Ok(()), 2));
    assert_eq!(meter.enter(&Limits::default()), Ok(()));
}

#[test]
fn users_are_found_again_by_name_if_they_are_on() {
    let access = |names: &[(&str, &str)]| {
        let user =
            |(name, rules): &(&str, &str)| User::new(name, Rules::parse(rules).unwrap(), Limits::default());
        Access::of_users(user(&("default", "on nopass")), names.iter().map(user).collect(), Limits::default())
    };
    let before = access(&[("a", "on nopass"), ("b", "on nopass"), ("c", "on nopass"), ("d", "on nopass")]);
    let now = access(&[("d", "on nopass"), ("x", "on nopass"), ("b", "off"), ("a", "on nopass")]);
    assert_eq!(now.heirs(&before), [Some(0), Some(4), None, None, Some(1)]);
}
