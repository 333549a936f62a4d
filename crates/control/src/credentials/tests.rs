use super::*;

const SEVEN: RedisVersion = RedisVersion::new(7, 0, 15);

fn user(name: &str, access: Access) -> User {
    User { name: name.to_owned(), credential: name.to_owned(), access }
}

fn passwords(text: &str) -> Passwords {
    Passwords::read(text).unwrap()
}

#[test]
fn a_file_of_users_holds_hashes_and_no_password() {
    let users = [
        (user(PLATFORM, Access::Platform), passwords("key-to-all\n")),
        (user("tenant-acme", Access::Tenant), passwords("newer\nolder\n")),
    ];
    let closed = acl_file(&users, Door::Redis(Gate::Closed), SEVEN);
    let lines: Vec<&str> = closed.lines().collect();
    assert_eq!(lines[0], "user default off resetkeys -@all");
    assert!(lines[1].starts_with("user shoal-platform on #"), "{}", lines[1]);
    assert!(lines[2].starts_with("user tenant-acme off #"), "{}", lines[2]);
    assert_eq!(lines[2].matches('#').count(), 2, "both passwords of a rotation are valid");
    for secret in ["key-to-all", "newer", "older"] {
        assert!(!closed.contains(secret), "{secret} stands in the file");
    }
    assert!(
        acl_file(&users, Door::Sentinel, SEVEN).contains("user tenant-acme on #"),
        "a Sentinel has no gate"
    );
    let open = acl_file(&users, Door::Redis(Gate::Open), SEVEN);
    assert!(open.contains("user tenant-acme on #"));
}

#[test]
fn passwords_do_not_show_themselves() {
    let shown = format!("{:?} {:?}", passwords("hunter2\n"), Password::new("hunter2"));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_is_no_password_is_refused_without_showing_it() {
    for (text, error) in [
        ("", BadPassword::Empty),
        ("\n\n", BadPassword::Empty),
        ("two words\n", BadPassword::Letter),
        ("quo\"te", BadPassword::Letter),
        ("pässe", BadPassword::Letter),
    ] {
        let refused = Passwords::read(text).unwrap_err();
        assert_eq!(refused, error, "{text:?}");
    }
    assert_eq!(Passwords::read(&"x".repeat(513)), Err(BadPassword::TooLong));
    assert_eq!(Passwords::read(&"x\n".repeat(17)), Err(BadPassword::TooMany));
}

#[test]
fn a_rotation_keeps_the_old_password_until_it_is_settled() {
    let one = passwords("a\n");
    let both = one.rotated(Password::new("b").unwrap());
    assert_eq!(both.write(), "b\na\n");
    assert_eq!(both.rotated(Password::new("a").unwrap()).write(), "a\nb\n", "nobody stands there twice");
    assert_eq!(both.settled().write(), "b\n");
}

/// Redis's glob, as far as the patterns use it: letters, `[^x]`, and a star at the end.
fn matches(pattern: &str, channel: &str) -> bool {
    let (mut channel, mut pattern) = (channel.chars(), pattern.chars());
    loop {
        match pattern.next() {
            None => return channel.next().is_none(),
            Some('*') => return true,
            Some('[') => {
                assert_eq!(pattern.next(), Some('^'));
                let not = pattern.next();
                assert_eq!(pattern.next(), Some(']'));
                if channel.next().is_none_or(|letter| Some(letter) == not) {
                    return false;
                }
            }
            Some(letter) if channel.next() == Some(letter) => {}
            Some(_) => return false,
        }
    }
}

#[test]
fn every_channel_but_the_sentinels_may_be_published_to() {
    let patterns = publishable();
    let may = |channel: &str| patterns.iter().any(|pattern| matches(&pattern[1..], channel));
    for at in 1..SENTINEL_CHANNELS.len() {
        let part = &SENTINEL_CHANNELS[..at];
        assert!(may(part), "{part}");
        assert!(may(&format!("{part}~")), "{part}~");
    }
    for channel in ["news", "_", "__keyspace@0__:x", "__sentinel__", "x__sentinel__:hello", "ü"] {
        assert!(may(channel), "{channel}");
    }
    for channel in ["__sentinel__:", "__sentinel__:hello", "__sentinel__:x"] {
        assert!(!may(channel), "{channel}");
    }
}

#[test]
fn rules_begin_by_taking_everything_away() {
    for version in [RedisVersion::new(6, 0, 20), RedisVersion::new(6, 2, 16), SEVEN] {
        for access in [Access::Platform, Access::Sentinel, Access::Replica, Access::Proxy, Access::Tenant] {
            let rules = rules(access, version);
            assert!(rules.iter().any(|rule| rule == "resetkeys") && rules.iter().any(|rule| rule == "-@all"));
            assert!(!rules.iter().any(|rule| rule == "on" || rule == "off" || rule.starts_with(['>', '#'])));
            let channels = rules.iter().any(|rule| rule.contains('&') || rule == "resetchannels");
            assert_eq!(channels, version.has_channels(), "{access:?} {version}: {rules:?}");
        }
    }
}

#[test]
fn hidden_commands_have_names_of_the_platform_s_password() {
    let (one, other) = (Password::new("one").unwrap(), Password::new("other").unwrap());
    let old = RedisVersion::new(5, 0, 14);
    let names = renamed(&one, old);
    assert_eq!(names, renamed(&one, old));
    assert_ne!(names, renamed(&other, old));
    assert!(names.iter().all(|renamed| renamed.name.len() > 40 && renamed.name.starts_with(renamed.command)));
    assert!(renamed(&one, RedisVersion::new(3, 0, 7)).iter().all(|renamed| renamed.command != "REPLICAOF"));
    assert!(renamed(&one, SEVEN).is_empty());
}
