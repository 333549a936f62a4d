//! Kill -9 while it writes, and a log that ends anywhere, as a machine leaves it that loses its power.

use super::*;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

/// By which the child knows that it is one, and where its store is.
const STORE: &str = "SHOAL_TEST_STORE_TO_WRITE";

const ROUNDS: u64 = 30;

/// Not a test by itself: what `nothing_acknowledged_is_lost` kills. It says before each write what it will write, and
/// after it that it was acknowledged.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let mut out = std::io::stdout();
    let mut say =
        |text: String| out.write_all(format!("\n! {text}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
    let store = Sqlite::open_or_create(Path::new(&path)).unwrap();
    let begin = marks(&store).values().max().copied().unwrap_or(0) + 1;
    let mut random = Random(begin);
    for mark in begin.. {
        let name = format!("n{}", random.below(15));
        if random.below(4) == 0 && store.get(Kind::Standalone, &name).unwrap().is_some() {
            say(format!("try {name} 0"));
            delete(&store, &name).unwrap();
        } else {
            say(format!("try {name} {mark}"));
            put(&store, &name, mark).unwrap();
        }
        say("done".to_owned());
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let (_folder, path) = fresh();
    let mut random = Random(7);
    let mut known = Marks::new();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "io::sqlite::tests::killed::child_writes_until_it_is_killed", "--nocapture"])
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut trying = None;
        let mut take = |line: &str, trying: &mut Option<(String, u64)>| match line.strip_prefix("! ") {
            Some("done") => {
                acknowledged += 1;
                match trying.take().unwrap() {
                    (name, 0) => known.remove(&name),
                    (name, mark) => known.insert(name, mark),
                };
            }
            Some(tried) => {
                let (name, mark) =
                    tried.strip_prefix("try ").and_then(|tried| tried.split_once(' ')).unwrap();
                *trying = Some((name.to_owned(), mark.parse().unwrap()));
            }
            None => {}
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // In the first round it may be killed while it makes the store.
        for _ in 0..random.below(400) {
            take(&lines.next().expect("it writes until it is killed").unwrap(), &mut trying);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            take(&line.unwrap(), &mut trying);
        }

        let Some(store) = reopened(&path) else {
            assert_eq!(acknowledged, 0, "round {round}");
            continue;
        };
        let found = marks(&store);
        let mut possible = vec![known.clone()];
        if let Some((name, mark)) = trying {
            let mut more = known.clone();
            match mark {
                0 => more.remove(&name),
                mark => more.insert(name, mark),
            };
            possible.push(more);
        }
        assert!(possible.contains(&found), "round {round}: {found:?} is none of {possible:?}");
        known = found;
    }
    assert!(acknowledged > ROUNDS, "it was killed before it wrote anything worth mentioning");
}

fn reopened(path: &Path) -> Option<Sqlite> {
    match Sqlite::open(path) {
        Ok(store) => Some(store),
        Err(Error::StoreMissing { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The log as it is when the power goes: cut anywhere, or with other bytes from there on. What was written whole is
/// there, in its order; nothing is there by half.
#[test]
fn a_log_that_ends_anywhere_has_all_that_was_written_before() {
    let (folder, path) = fresh();
    let store = Sqlite::create(&path).unwrap();
    let log = beside(&path, "wal");
    let length = || fs::metadata(&log).map_or(0, |log| log.len());
    let mut after = vec![(0, Marks::new())];
    let mut random = Random(3);
    for mark in 1..25 {
        let name = format!("n{}", random.below(6));
        if mark % 5 == 0 && marks(&store).contains_key(&name) {
            delete(&store, &name).unwrap();
        } else {
            put(&store, &name, mark).unwrap();
        }
        after.push((length(), marks(&store)));
    }
    let (file, whole) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    assert_eq!(whole.len() as u64, length());
    assert!(after.is_sorted_by(|(a, _), (b, _)| a < b), "no checkpoint came between");

    let mut ends: Vec<u64> =
        after.iter().flat_map(|(end, _)| [end.saturating_sub(1), *end, end + 1]).collect();
    ends.extend((0..40).map(|_| random.below(length())));
    for end in ends {
        let end = usize::try_from(end).unwrap().min(whole.len());
        let (_, expected) = after.iter().rev().find(|(length, _)| *length <= end as u64).unwrap();
        for garbage in [false, true] {
            let copy = folder.path().join("copy.db");
            fs::write(&copy, &file).unwrap();
            let mut torn = whole[..end].to_vec();
            if garbage {
                torn.extend((end..whole.len()).map(|_| u8::try_from(random.below(256)).unwrap()));
            }
            fs::write(beside(&copy, "wal"), &torn).unwrap();
            let store = Sqlite::open(&copy).unwrap_or_else(|error| panic!("{end}: {error}"));
            assert_eq!(&marks(&store), expected, "cut at {end}, garbage: {garbage}");
            put(&store, "goes-on", 1).unwrap();
        }
    }
}
