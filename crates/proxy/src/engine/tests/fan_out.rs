//! Commands to all shards, scans and scripts, a step at a time.

use super::cases::{one_lane, request};
use super::*;

/// One session, and a server at the end of each upstream that answers what it is told to.
struct Steps {
    engine: Engine,
    session: Key,
    /// The upstream of each shard.
    upstreams: [Option<Key>; SHARDS],
}

impl Steps {
    fn new(change: impl FnOnce(&mut PoolSettings)) -> Steps {
        let mut settings = one_lane(Dialect::Shoal);
        change(&mut settings);
        let (engine, session) = engine(settings);
        Steps { engine, session, upstreams: [None; SHARDS] }
    }

    fn ask(&mut self, words: &[&str]) {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.engine.handle_session_bytes(self.session, &request(&words));
        while let Some(action) = self.engine.poll_action() {
            let Action::Connect(key) = action else { continue };
            let at = self.engine.upstream_endpoint(key).unwrap().to_string();
            let shard = at.strip_prefix("127.0.0.1:700").unwrap().parse::<usize>().unwrap();
            self.upstreams[shard] = Some(key);
            self.engine.handle_upstream_connected(key);
        }
    }

    /// What was sent to each shard since this was last asked.
    fn sent(&mut self) -> [String; SHARDS] {
        let mut all = [const { String::new() }; SHARDS];
        while let Some(key) = self.engine.poll_upstream() {
            let output = self.engine.upstream_output(key).to_vec();
            self.engine.handle_upstream_sent(key, output.len());
            let shard = self.upstreams.iter().position(|upstream| *upstream == Some(key)).unwrap();
            all[shard].push_str(&String::from_utf8(output).unwrap());
        }
        all
    }

    fn reply(&mut self, shard: usize, bytes: &str) {
        self.engine.handle_upstream_bytes(self.upstreams[shard].unwrap(), bytes.as_bytes());
    }

    fn answered(&mut self) -> String {
        drained(&mut self.engine, self.session)
    }
}

fn words(all: &[&str]) -> String {
    let all: Vec<&[u8]> = all.iter().map(|word| word.as_bytes()).collect();
    String::from_utf8(request(&all)).unwrap()
}

#[test]
fn all_shards_are_asked_and_their_answers_joined_in_the_pipeline_s_order() {
    let mut steps = Steps::new(|_| {});
    steps.ask(&["DBSIZE"]);
    steps.ask(&["KEYS", "*"]);
    let both = words(&["DBSIZE"]) + &words(&["KEYS", "*"]);
    assert_eq!(steps.sent(), [both.clone(), both.clone(), both]);
    steps.reply(2, ":3\r\n*1\r\n$1\r\nc\r\n");
    steps.reply(0, ":1\r\n*1\r\n$1\r\na\r\n");
    assert_eq!(steps.answered(), "");
    steps.reply(1, ":2\r\n*0\r\n");
    assert_eq!(steps.answered(), ":6\r\n*2\r\n$1\r\na\r\n$1\r\nc\r\n");
    assert_eq!(steps.engine.outstanding(), (0, 0));
}

#[test]
fn a_shard_that_fails_is_named_whoever_words_the_error() {
    let mut steps = Steps::new(|settings| settings.allow_flush = true);
    steps.ask(&["FLUSHALL", "ASYNC"]);
    let flush = words(&["FLUSHDB", "ASYNC"]);
    assert_eq!(steps.sent(), [flush.clone(), flush.clone(), flush]);
    steps.reply(0, "+OK\r\n");
    steps.reply(1, "-READONLY You can't write against a read only replica.\r\n");
    steps.reply(2, "+OK\r\n");
    assert_eq!(
        steps.answered(),
        "-READONLY You can't write against a read only replica. (shard s1 of pool alpha)\r\n"
    );
    steps.ask(&["DBSIZE"]);
    steps.sent();
    steps.reply(0, ":1\r\n");
    steps.reply(1, ":1\r\n");
    steps.engine.handle_upstream_failed(steps.upstreams[2].unwrap(), &Failure::Closed);
    assert_eq!(steps.answered(), "-ERR shard s2 of pool alpha closed the connection before it answered\r\n");
}

#[test]
fn nothing_is_emptied_unless_the_pool_allows_it() {
    let mut steps = Steps::new(|_| {});
    for name in ["FLUSHALL", "flushdb"] {
        steps.ask(&[name]);
        assert!(steps.answered().contains("allow_flush"));
        assert_eq!(steps.sent().concat(), "");
    }
}

#[test]
fn a_scan_goes_from_shard_to_shard_and_ends_at_zero() {
    let mut steps = Steps::new(|_| {});
    let mut cursor = "0".to_owned();
    let mut seen = String::new();
    for turn in 0..6 {
        let (shard, inner, next) = (turn / 2, [0, 96][turn % 2], [96, 0][turn % 2]);
        steps.ask(&["SCAN", &cursor, "MATCH", "a*", "COUNT", "7"]);
        let mut expected = [const { String::new() }; SHARDS];
        expected[shard] = words(&["SCAN", &inner.to_string(), "MATCH", "a*", "COUNT", "7"]);
        assert_eq!(steps.sent(), expected);
        let page = format!("*1\r\n$2\r\na{turn}\r\n");
        steps.reply(shard, &format!("*2\r\n${}\r\n{next}\r\n{page}", next.to_string().len()));
        let answer = steps.answered();
        let mut lines = answer.split("\r\n");
        assert_eq!(lines.next(), Some("*2"));
        cursor = lines.nth(1).unwrap().to_owned();
        assert!(cursor.parse::<i64>().is_ok(), "{cursor} as signed clients read it");
        assert_eq!(cursor == "0", turn == 5);
        assert!(answer.ends_with(&page));
        seen.push_str(&page);
    }
    assert_eq!(seen.matches("$2").count(), 6);
}

#[test]
fn a_cursor_is_not_gone_on_with_in_another_topology() {
    let mut steps = Steps::new(|_| {});
    steps.ask(&["SCAN", "0"]);
    steps.sent();
    steps.reply(0, "*2\r\n$1\r\n9\r\n*0\r\n");
    let answer = steps.answered();
    let cursor = answer.split("\r\n").nth(2).unwrap().to_owned();
    let mut moved = one_lane(Dialect::Shoal);
    moved.pool.shards.swap(0, 2);
    steps.engine.reconfigure(pools(moved, Arc::new(Health::new(SHARDS, None)))).unwrap();
    steps.ask(&["SCAN", &cursor]);
    assert!(steps.answered().contains("another topology"));
    steps.ask(&["SCAN", "9"]);
    assert!(steps.answered().contains("another topology"));
    steps.ask(&["SCAN", "x"]);
    assert_eq!(steps.answered(), "-ERR invalid cursor\r\n");
    assert_eq!(steps.sent().concat(), "");
}

#[test]
fn a_shard_s_error_and_a_cursor_that_cannot_be_carried_end_the_page_alone() {
    let mut steps = Steps::new(|_| {});
    for (reply, expected) in [
        ("-ERR syntax error\r\n", "-ERR syntax error\r\n"),
        ("*2\r\n$19\r\n9223372036854775808\r\n*0\r\n", "too large"),
        ("*2\r\n:5\r\n*0\r\n", "unexpected form"),
        ("+OK\r\n", "unexpected form"),
    ] {
        steps.ask(&["SCAN", "0", "COUNT", "x"]);
        steps.sent();
        steps.reply(0, reply);
        let answer = steps.answered();
        assert!(answer.starts_with('-') && answer.contains(expected), "{reply}: {answer}");
    }
}

#[test]
fn a_page_that_is_large_passes_through_and_one_that_cannot_be_carried_is_dropped() {
    for (inner, fits) in [("5", true), ("9223372036854775808", false)] {
        let mut steps = Steps::new(|_| {});
        steps.ask(&["SCAN", "0", "COUNT", "100000"]);
        steps.sent();
        let key = format!("$100000\r\n{}\r\n", "k".repeat(100_000));
        steps.reply(0, &format!("*2\r\n${}\r\n{inner}\r\n*40\r\n", inner.len()));
        let mut answer = String::new();
        for _ in 0..40 {
            steps.reply(0, &key);
            answer.push_str(&steps.answered());
        }
        match fits {
            true => assert!(answer.ends_with(&format!("*40\r\n{}", key.repeat(40)))),
            false => assert!(answer.len() < 200 && answer.contains("too large"), "{}", answer.len()),
        }
        assert_eq!(steps.engine.outstanding(), (0, 0));
        assert!(steps.engine.session_count() == 1);
    }
}

const BODY: &str = "return KEYS[1]";
const NAME: &str = "4a2267357833227dd98abdedb8cf24b15a986445";
const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";

#[test]
fn a_script_that_a_shard_lacks_is_loaded_there_and_called_again() {
    let mut steps = Steps::new(|_| {});
    steps.ask(&["EVAL", BODY, "1", "a"]);
    let shard = steps.sent().iter().position(|sent| !sent.is_empty()).unwrap();
    steps.reply(shard, "$1\r\na\r\n");
    steps.answered();
    let call = words(&["EVALSHA", NAME, "1", "a"]);
    for in_between in ["$40\r\n", "-OOM no room\r\n"] {
        steps.ask(&["EVALSHA", NAME, "1", "a"]);
        assert_eq!(steps.sent()[shard], call);
        steps.reply(shard, NOSCRIPT);
        assert_eq!(steps.answered(), "");
        assert_eq!(steps.sent()[shard], words(&["SCRIPT", "LOAD", BODY]) + &call);
        let (loaded, expected) = match in_between {
            "$40\r\n" => (format!("$40\r\n{NAME}\r\n"), "$1\r\na\r\n"),
            error => (error.to_owned(), NOSCRIPT),
        };
        steps.reply(shard, &loaded);
        steps.reply(shard, expected);
        assert_eq!(steps.answered(), expected, "and it is not tried a third time");
        assert_eq!(steps.sent().concat(), "");
    }
    assert_eq!(steps.engine.outstanding(), (0, 0));
}

#[test]
fn a_script_is_not_called_again_behind_what_was_asked_after_it() {
    let mut steps = Steps::new(|_| {});
    steps.ask(&["EVAL", BODY, "1", "a"]);
    let shard = steps.sent().iter().position(|sent| !sent.is_empty()).unwrap();
    steps.reply(shard, "$1\r\na\r\n");
    steps.ask(&["EVALSHA", NAME, "1", "a"]);
    steps.ask(&["SET", "a", "1"]);
    steps.sent();
    steps.answered();
    steps.reply(shard, NOSCRIPT);
    assert_eq!(steps.answered(), NOSCRIPT);
    assert_eq!(steps.sent().concat(), "");
    steps.reply(shard, "+OK\r\n");
    assert_eq!(steps.answered(), "+OK\r\n");
}

#[test]
fn what_was_never_seen_or_was_flushed_is_the_client_s_affair() {
    let mut steps = Steps::new(|_| {});
    steps.ask(&["SCRIPT", "LOAD", BODY]);
    steps.sent();
    (0..SHARDS).for_each(|shard| steps.reply(shard, &format!("$40\r\n{NAME}\r\n")));
    assert_eq!(steps.answered(), format!("$40\r\n{NAME}\r\n"));
    steps.ask(&["SCRIPT", "FLUSH"]);
    steps.sent();
    (0..SHARDS).for_each(|shard| steps.reply(shard, "+OK\r\n"));
    assert_eq!(steps.answered(), "+OK\r\n");
    steps.ask(&["EVALSHA", NAME, "1", "a"]);
    let shard = steps.sent().iter().position(|sent| !sent.is_empty()).unwrap();
    steps.reply(shard, NOSCRIPT);
    assert_eq!(steps.answered(), NOSCRIPT);
}

#[test]
fn a_large_reply_of_a_script_passes_through() {
    for lacking in [false, true] {
        let mut steps = Steps::new(|_| {});
        steps.ask(&["SCRIPT", "LOAD", BODY]);
        steps.sent();
        (0..SHARDS).for_each(|shard| steps.reply(shard, &format!("$40\r\n{NAME}\r\n")));
        steps.answered();
        steps.ask(&["EVALSHA", NAME, "1", "a"]);
        let shard = steps.sent().iter().position(|sent| !sent.is_empty()).unwrap();
        if lacking {
            steps.reply(shard, NOSCRIPT);
            steps.sent();
            steps.reply(shard, &format!("$40\r\n{NAME}\r\n"));
        }
        steps.reply(shard, "$30000000\r\n");
        let mut length = 0;
        for _ in 0..300 {
            steps.reply(shard, &"v".repeat(100_000));
            length += steps.answered().len();
        }
        assert!(length > 29_000_000, "{length}: it is passed on while it comes in");
        steps.reply(shard, "\r\n");
        length += steps.answered().len();
        assert_eq!(length, "$30000000\r\n\r\n".len() + 30_000_000);
        assert_eq!(steps.engine.outstanding(), (0, 0));
    }
}

#[test]
fn a_shard_s_error_ends_a_large_answer_of_the_others() {
    let mut steps = Steps::new(|_| {});
    steps.ask(&["KEYS", "*"]);
    steps.sent();
    steps.reply(1, "-LOADING Redis is loading the dataset in memory\r\n");
    let key = format!("$100000\r\n{}\r\n", "k".repeat(100_000));
    steps.reply(0, "*300\r\n");
    let mut answer = String::new();
    for _ in 0..300 {
        assert!(steps.engine.wants_upstream_bytes(steps.upstreams[0].unwrap()));
        steps.reply(0, &key);
        answer.push_str(&steps.answered());
    }
    steps.reply(2, "*0\r\n");
    answer.push_str(&steps.answered());
    assert_eq!(answer, "-LOADING Redis is loading the dataset in memory (shard s1 of pool alpha)\r\n");
    assert_eq!((steps.engine.outstanding(), steps.engine.session_count()), ((0, 0), 1));
}

#[test]
fn a_script_without_keys_runs_where_the_pool_says_or_nowhere() {
    let mut steps = Steps::new(|_| {});
    for name in ["EVAL", "EVALSHA", "FCALL", "FCALL_RO"] {
        steps.ask(&[name, BODY, "0"]);
        assert!(steps.answered().contains("keyless_scripts"));
        assert_eq!(steps.sent().concat(), "");
    }
    let mut steps = Steps::new(|settings| settings.keyless_scripts = Some(1));
    steps.ask(&["FCALL", "f", "0"]);
    assert_eq!(steps.sent()[1], words(&["FCALL", "f", "0"]));
    steps.reply(1, ":1\r\n");
    assert_eq!(steps.answered(), ":1\r\n");
}

#[test]
fn what_concerns_one_server_is_refused_by_name() {
    let mut steps = Steps::new(|_| {});
    for sub in [&["FUNCTION", "STATS"][..], &["SCRIPT", "KILL"], &["SCRIPT", "DEBUG", "YES"]] {
        steps.ask(sub);
        assert!(steps.answered().contains("concerns one server"));
    }
    steps.ask(&["SCRIPT", "LOAD"]);
    assert_eq!(steps.answered(), "-ERR wrong number of arguments for 'script|load' command\r\n");
    assert_eq!(steps.sent().concat(), "");
}

#[test]
fn as_nutcracker_none_of_this_is_known() {
    let mut steps = Steps::new(|settings| {
        settings.dialect = Dialect::Nutcracker;
        settings.allow_flush = true;
    });
    for command in [
        &["DBSIZE"][..],
        &["KEYS", "*"],
        &["RANDOMKEY"],
        &["FLUSHALL"],
        &["SCAN", "0"],
        &["FCALL", "f", "1", "a"],
    ] {
        steps.ask(command);
        assert!(steps.answered().starts_with("-ERR unknown command"));
    }
    assert_eq!(steps.sent().concat(), "");
}

/// Has each shard answer `replies`, in pieces, as long as it is read; what the client is sent.
fn answer_in_pieces(steps: &mut Steps, mut replies: [VecDeque<u8>; SHARDS]) -> String {
    let mut said = String::new();
    for _ in 0..10_000 {
        for (shard, reply) in replies.iter_mut().enumerate() {
            let upstream = steps.upstreams[shard].unwrap();
            let count = reply.len().min(64 * 1024);
            if count > 0 && steps.engine.wants_upstream_bytes(upstream) {
                let piece: Vec<u8> = reply.drain(..count).collect();
                steps.engine.handle_upstream_bytes(upstream, &piece);
            }
        }
        assert!(steps.engine.owed_at_most() <= OWED_MAX + (SHARDS + 1) * 64 * 1024);
        said += &steps.answered();
        if replies.iter().all(VecDeque::is_empty) {
            return said;
        }
    }
    panic!("{:?} are never read", replies.map(|reply| reply.len()));
}

#[test]
fn replies_that_are_too_long_to_be_joined_are_an_error_and_not_waited_for_for_ever() {
    let numsub = format!("*2\r\n$5000000\r\n{}\r\n:1\r\n", "c".repeat(5_000_000));
    let exists = format!("*1000000\r\n{}", ":1\r\n".repeat(1_000_000));
    let wrong = format!("*3\r\n{}", "$2000000\r\n{}\r\n".replace("{}", &"v".repeat(2_000_000)).repeat(3));
    for (asked, reply) in
        [(&["PUBSUB", "NUMSUB", "c"][..], numsub), (&["SCRIPT", "EXISTS", "x"], exists), (&["MGET"], wrong)]
    {
        let mut steps = Steps::new(|settings| {
            settings.timeout = None;
            settings.pool.hash = "md5".parse().unwrap(); // which spreads few and similar keys
        });
        let keys: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
        let mut words = asked.to_vec();
        if asked == ["MGET"] {
            words.extend(keys.iter().map(String::as_str));
        }
        steps.ask(&words);
        steps.ask(&["PING"]);
        steps.sent();
        let said = answer_in_pieces(&mut steps, [(); SHARDS].map(|()| reply.bytes().collect()));
        assert!(said.starts_with("-ERR the shards' replies to this request") && said.ends_with("+PONG\r\n"));
        assert_eq!(said.matches("\r\n").count(), 2, "{:?}", &said[..said.len().min(300)]);
        assert_eq!(steps.engine.outstanding(), (0, 0));
    }
}

#[test]
fn a_shard_that_did_not_confirm_a_script_is_given_it_before_its_next_call() {
    let mut steps = Steps::new(|_| {});
    steps.ask(&["GET", "a"]);
    let lacking = steps.sent().iter().position(|sent| !sent.is_empty()).unwrap();
    steps.reply(lacking, "$-1\r\n");
    steps.ask(&["SCRIPT", "LOAD", BODY]);
    steps.sent();
    for shard in 0..SHARDS {
        let loaded = format!("$40\r\n{NAME}\r\n");
        steps.reply(shard, if shard == lacking { "-OOM no room\r\n" } else { &loaded });
    }
    assert!(steps.answered().contains("-OOM no room"));
    let load = words(&["SCRIPT", "LOAD", BODY]);
    let mut called = [false; SHARDS];
    for key in (0..20).map(|number| if number == 0 { "a".to_owned() } else { format!("k{number}") }) {
        let call = words(&["EVALSHA", NAME, "1", &key]);
        steps.ask(&["EVALSHA", NAME, "1", &key]);
        let sent = steps.sent();
        let shard = sent.iter().position(|sent| !sent.is_empty()).unwrap();
        let is_first = !std::mem::replace(&mut called[shard], true);
        let expected = if shard == lacking && is_first { load.clone() + &call } else { call };
        assert_eq!(sent[shard], expected, "{shard}");
        if shard == lacking && is_first {
            steps.reply(shard, &format!("$40\r\n{NAME}\r\n"));
        }
        steps.reply(shard, ":1\r\n");
        assert_eq!(steps.answered(), ":1\r\n");
    }
    assert_eq!(called, [true; SHARDS]);
}
