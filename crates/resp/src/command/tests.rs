use std::collections::BTreeSet;

use super::*;
use crate::{RequestLimits, encode, parse_request};

/// The keys of a request that is written as words.
fn keys(request: &str) -> Result<Vec<String>, KeyError> {
    let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
    let (mut bytes, mut args, mut places) = (Vec::new(), Vec::new(), vec![99]);
    encode::command(&mut bytes, &words);
    parse_request(&bytes, &RequestLimits::default(), &mut args).unwrap();
    let command = lookup(words[0]).unwrap();
    let sub = words.get(1).and_then(|sub| lookup_sub(command, sub));
    sub.unwrap_or(command).keys(&bytes, &args, &mut places)?;
    Ok(places.iter().map(|at| String::from_utf8(words[*at].to_vec()).unwrap()).collect())
}

#[test]
fn finds_every_command_in_any_case() {
    let mut ids = BTreeSet::new();
    for command in all() {
        let name = command.name;
        let mixed: String = name
            .char_indices()
            .map(|(at, letter)| if at % 2 == 0 { letter.to_ascii_lowercase() } else { letter })
            .collect();
        for spelled in [name, &name.to_lowercase(), &mixed] {
            assert_eq!(lookup(spelled.as_bytes()).map(|found| found.id), Some(command.id), "{spelled}");
        }
        for wrong in [format!("{name}X"), format!("X{name}"), name[1..].to_owned()] {
            let known = all().iter().any(|known| known.name == wrong);
            assert_eq!(lookup(wrong.as_bytes()).is_some(), known, "{wrong}");
        }
        assert!(ids.insert(command.id));
        for sub in command.subs {
            assert!(ids.insert(sub.id));
            assert_eq!(sub.name, format!("{name}|{}", sub.sub_name()));
            assert_eq!(lookup_sub(command, sub.sub_name().to_lowercase().as_bytes()), Some(sub));
        }
    }
    assert!(ids.len() > 400, "{}", ids.len());
    for unknown in ["", "GE", "GETT", "CONFIG|GET", "G\0T", "NOSUCHCOMMAND", "\u{e9}\u{e9}\u{e9}"] {
        assert_eq!(lookup(unknown.as_bytes()), None, "{unknown:?}");
    }
    assert_eq!(lookup(&[b'A'; 1000]), None);
    assert_eq!(lookup_sub(lookup(b"config").unwrap(), b"nosuch"), None);
}

#[test]
fn the_index_keeps_look_ups_short() {
    let steps = all().iter().map(|command| {
        let number = |slot: usize| INDEX[slot % SLOTS];
        let at = hash(command.name.as_bytes());
        let here =
            |slot: usize| COMMANDS.get(usize::from(number(slot))).is_some_and(|found| found.id == command.id);
        1 + (0..SLOTS).find(|step| here(at + step)).unwrap()
    });
    let (sum, most) = steps.fold((0, 0), |(sum, most), steps| (sum + steps, usize::max(most, steps)));
    assert!(sum * 10 < all().len() * 13 && most <= 6, "{sum} steps for {}, at most {most}", all().len());
}

#[test]
fn knows_arity_and_kind() {
    let get = lookup(b"get").unwrap();
    assert!(get.accepts(2) && !get.accepts(1) && !get.accepts(3));
    assert!(get.flags.contains(Flags::READONLY) && !get.flags.intersects(Flags::WRITE));
    let mget = lookup(b"mget").unwrap();
    assert!(mget.accepts(2) && mget.accepts(1000) && !mget.accepts(1));
    assert_eq!((mget.spread, mget.join), (Spread::ByKeys, Join::ByPosition));
    let joins = |name: &[u8]| lookup(name).map(|command| (command.spread, command.join));
    assert_eq!(joins(b"del"), Some((Spread::ByKeys, Join::Sum)));
    assert_eq!(joins(b"mset"), Some((Spread::ByKeys, Join::AllOk)));
    assert_eq!(joins(b"dbsize"), Some((Spread::AllShards, Join::Sum)));
    assert_eq!(joins(b"keys"), Some((Spread::AllShards, Join::Concat)));
    assert_eq!(joins(b"get"), Some((Spread::One, Join::First)));
    assert!(lookup(b"config").unwrap().is_container() && !get.is_container());
    assert!(lookup(b"blpop").unwrap().flags.contains(Flags::BLOCKING.with(Flags::WRITE)));
    assert_eq!(format!("{get:?}"), "Command(GET)");
}

#[test]
fn finds_keys_wherever_they_are() {
    for (request, expected) in [
        ("PING", vec![]),
        ("GET a", vec!["a"]),
        ("MGET a b a", vec!["a", "b", "a"]),
        ("MSET a 1 b 2", vec!["a", "b"]),
        ("BLPOP a b 0", vec!["a", "b"]),
        ("RENAME a b", vec!["a", "b"]),
        ("BITOP AND d a b", vec!["d", "a", "b"]),
        ("EVAL code 2 a b c", vec!["a", "b"]),
        ("EVAL code 0 c", vec![]),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", vec!["d", "a", "b"]),
        ("BLMPOP 0 2 a b LEFT", vec!["a", "b"]),
        ("MSETEX 2 a 1 b 2 EX 9", vec!["a", "b"]),
        ("XREAD COUNT 2 BLOCK 0 STREAMS a b 0 0", vec!["a", "b"]),
        ("XREADGROUP GROUP streams count STREAMS a >", vec!["a"]),
        ("XGROUP CREATE s g $", vec!["s"]),
        ("OBJECT ENCODING a", vec!["a"]),
        ("OBJECT HELP", vec![]),
        ("SORT a", vec!["a"]),
        ("SORT a BY STORE GET store LIMIT 0 1 STORE x STORE d", vec!["a", "d"]),
        ("GEORADIUS a 1 2 3 m STOREDIST d", vec!["a", "d"]),
        ("GEORADIUSBYMEMBER a m 3 m STORE d", vec!["a", "d"]),
        ("MIGRATE h 1 a 0 9", vec!["a"]),
        ("MIGRATE h 1  0 9 COPY AUTH keys KEYS a b", vec!["a", "b"]),
        ("SSUBSCRIBE a b", vec!["a", "b"]),
        ("SUNSUBSCRIBE", vec![]),
        ("HGETEX a FIELDS 1 f", vec!["a"]),
    ] {
        assert_eq!(keys(request), Ok(expected.iter().map(|key| (*key).to_owned()).collect()), "{request}");
    }
}

#[test]
fn says_why_keys_cannot_be_told() {
    for (request, expected) in [
        ("GET", KeyError::TooFewArguments),
        ("BLPOP a", KeyError::TooFewArguments),
        ("RENAME a", KeyError::TooFewArguments),
        ("EVAL code", KeyError::TooFewArguments),
        ("MIGRATE h", KeyError::TooFewArguments),
        ("EVAL code x a", KeyError::InvalidNumKeys),
        ("EVAL code -1 a", KeyError::InvalidNumKeys),
        ("EVAL code 2 a", KeyError::InvalidNumKeys),
        ("EVAL code 99999999999999999999 a", KeyError::InvalidNumKeys),
        ("MSETEX 2 a 1 b", KeyError::InvalidNumKeys),
        ("XREAD COUNT 2", KeyError::InvalidStreams),
        ("XREAD STREAMS", KeyError::InvalidStreams),
        ("XREAD STREAMS a b 0", KeyError::InvalidStreams),
    ] {
        assert_eq!(keys(request), Err(expected), "{request}");
    }
}

#[test]
fn groups_stand_at_their_numbers_and_have_names_of_their_own() {
    for (number, group) in Group::ALL.into_iter().enumerate() {
        assert_eq!(group as usize, number);
        assert_eq!(Group::ALL.iter().filter(|other| other.name() == group.name()).count(), 1);
    }
    assert!(all().iter().all(|command| Group::ALL.contains(&command.group)));
}
