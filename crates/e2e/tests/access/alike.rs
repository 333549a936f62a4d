//! What Redis 7.0 answers to users, the proxy answers: in the same words, and about the same commands and keys.

use shoal_e2e::raw_client::words;
use shoal_e2e::{Chance, RawClient, RedisServer, Workplace};
use shoal_proxy::access::Rules;
use shoal_proxy::access::pattern::matches;
use shoal_resp::command;

use crate::rig::{Rig, say};

const APP: &str = "~app:* &app.* +@all -@admin -flushall +@scripting";
const READER: &str = "%RW~{a}* +@read +@connection +multi -exec +config|get";

/// One conversation, each line a request; both sides must say the same.
const LINES: &[&str] = &[
    "GET app:1",
    "PING",
    "ACL WHOAMI",
    "NOTHING app:1",
    "GET",
    "AUTH app wrong",
    "AUTH nobody secret",
    "AUTH off secret",
    "AUTH secret",
    "AUTH a b c d",
    "HELLO 3 AUTH nobody secret",
    "HELLO 3 AUTH app",
    "AUTH app secret",
    "ACL WHOAMI",
    "AUTH app wrong",
    "ACL WHOAMI",
    "SET app:1 v",
    "GET app:1",
    "GET other",
    "MGET app:1 other",
    "MSET app:1 v other v",
    "DEL other app:1",
    "FLUSHALL",
    "CONFIG GET save",
    "CONFIG SET save x",
    "ACL LIST",
    "ACL USERS",
    "ACL CAT nosuch",
    "ACL NOSUCH",
    "ACL WHOAMI x",
    "PUBLISH app.1 x",
    "PUBLISH other x",
    "SPUBLISH other x",
    "EVAL return 1 other",
    "XREAD STREAMS app:1 other 0 0",
    "OBJECT ENCODING other",
    "OBJECT NOSUCH other",
    "LPUSH app:l 2 1",
    "SORT app:l BY w*",
    "SORT app:l GET #",
    "SORT app:l BY nosort",
    "SORT app:l STORE other",
    "BLPOP other 0",
    "WATCH other",
    "WATCH app:1",
    "UNWATCH",
    "MULTI",
    "SET app:1 v",
    "GET other",
    "EXEC",
    "MULTI",
    "SET app:1 v2",
    "EXEC",
    "SUBSCRIBE other",
    "PSUBSCRIBE app.1",
    "SSUBSCRIBE other",
    "SUBSCRIBE app.1",
    "PSUBSCRIBE app.*",
    "SUBSCRIBE other",
    "PUNSUBSCRIBE other",
    "RESET",
    "ACL WHOAMI",
    "AUTH reader secret",
    "ACL WHOAMI",
    "GET {a}1",
    "SET {a}1 x",
    "MULTI",
    "GET {a}1",
    "EXEC",
    "GET {a}1",
    "EXEC",
    "CONFIG GET nothing",
    "CONFIG SET save x",
    "HELLO 2 AUTH app secret SETNAME me",
    "ACL WHOAMI",
    "CLIENT GETNAME",
    "QUIT",
];

fn sha256(password: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$1\" | sha256sum", "sh", password])
        .output()
        .expect("run sha256sum");
    String::from_utf8(output.stdout).expect("digits").split(' ').next().expect("a hash").to_owned()
}

fn set_user(client: &mut RawClient, name: &str, rules: &str) {
    let mut all = vec!["ACL", "SETUSER", name, "reset"];
    all.extend(words(rules));
    let answer = client.call(&all);
    assert_eq!(answer, b"+OK\r\n", "{name} {rules}: {}", answer.escape_ascii());
}

#[test]
fn a_conversation_is_as_with_redis() {
    let workplace = Workplace::new();
    let redis = RedisServer::start(&workplace, &[]);
    let hash = sha256("secret");
    let mut admin = redis.client();
    let [app, reader] = [APP, READER].map(|rules| format!("on #{hash} {rules}"));
    set_user(&mut admin, "app", &app);
    set_user(&mut admin, "reader", &reader);
    set_user(&mut admin, "off", &format!("off #{hash} ~* +@all"));
    set_user(&mut admin, "default", "off");
    let users = format!(
        "users:\n- {{name: app, rules: '{app}'}}\n- {{name: reader, rules: '{reader}'}}\n\
         - {{name: \"off\", rules: 'off #{hash} ~* +@all'}}"
    );
    let rig = Rig::start(1, &[], &users);
    let (mut theirs, mut ours) = (redis.client(), rig.client());
    for line in LINES {
        assert_eq!(said(&mut ours, line), said(&mut theirs, line), "{line}");
    }
    assert!(ours.until_closed().is_empty());
}

/// What is said to `line`, but for the client's id, which each side counts by itself.
fn said(client: &mut RawClient, line: &str) -> String {
    let said = say(client, line);
    match said.split_once("$2\\r\\nid\\r\\n:") {
        Some((before, after)) if line.starts_with("HELLO") => {
            format!("{before}{}", after.split_once("\\r\\n").expect("the end of a number").1)
        }
        _ => said,
    }
}

#[test]
fn each_command_is_allowed_as_by_redis() {
    let workplace = Workplace::new();
    let redis = RedisServer::start(&workplace, &[]);
    let mut client = redis.client();
    let categories = strings(&client.call(&["ACL", "CAT"]));
    let mut all: Vec<String> = vec!["+@all".to_owned(), "-@all".to_owned()];
    for category in &categories {
        all.push(format!("+@{category}"));
        all.push(format!("+@all -@{category} +@scripting"));
    }
    for rules in [
        "+@read +@write -@dangerous +get -flushall +config|get",
        "+config -config|set",
        "+@all -@all +get +@hash -hset",
        "+acl|whoami +@slow -@admin +client -client|kill",
        "allcommands -script +script|load +@scripting -fcall",
        "nocommands +@scripting -eval +xgroup|create +object",
    ] {
        all.push(rules.to_owned());
    }
    let commands = strings(&client.call(&["COMMAND", "LIST"]));
    assert!(commands.len() > 350, "{}", commands.len());
    let mut compared = 0;
    for text in &all {
        set_user(&mut client, "tried", &format!("on nopass ~* &* {text}"));
        let ours = Rules::parse(&format!("on nopass ~* &* {text}")).expect("rules");
        for name in &commands {
            let (first, sub) = name.split_once('|').unwrap_or((name, ""));
            let Some(known) = command::lookup(first.as_bytes()) else { panic!("{name} is not known") };
            let known = if sub.is_empty() { Some(known) } else { command::lookup_sub(known, sub.as_bytes()) };
            let known = known.unwrap_or_else(|| panic!("{name} is not known"));
            if known.is_container() {
                continue;
            }
            let mut request = vec!["ACL", "DRYRUN", "tried", first];
            request.extend([sub].iter().filter(|sub| !sub.is_empty()));
            while !known.accepts(request.len() - 3) {
                request.push("1");
            }
            let said = client.call(&request);
            let allowed = said == b"+OK\r\n";
            let refused = String::from_utf8_lossy(&said).contains("no permissions to run the");
            assert!(allowed || refused, "{request:?}: {}", said.escape_ascii());
            // Those that let a client in are always allowed, whatever the rules say. What runs scripts must be named, where
            // Redis checks what is called within.
            let always = known.flags.contains(command::Flags::NO_AUTH)
                || first.starts_with(['E', 'e', 'F', 'f'])
                    && known.categories.contains(command::Categories::SCRIPTING)
                    && !text.ends_with("scripting");
            assert!(always || ours.commands.contains(known) == allowed, "{text}: {name}, Redis: {allowed}");
            compared += usize::from(!always);
        }
    }
    assert!(compared > 15_000, "{compared}");
}

#[test]
fn patterns_match_as_redis_has_them() {
    let workplace = Workplace::new();
    let redis = RedisServer::start(&workplace, &[]);
    let mut client = redis.client();
    let mut chance = Chance(1);
    let (mut matched, tried) = (0, 3000);
    for _ in 0..tried {
        let pattern: String = (0..chance.below(8)).map(|_| b"ab*?[]^-\\"[chance.below(9)] as char).collect();
        let key: String = (0..chance.below(5)).map(|_| b"ab-]\\"[chance.below(5)] as char).collect();
        if pattern.is_empty() || pattern == "*" {
            continue;
        }
        set_user(&mut client, "tried", &format!("on nopass +@all ~{pattern}"));
        let theirs = client.call(&["ACL", "DRYRUN", "tried", "GET", &key]) == b"+OK\r\n";
        assert_eq!(matches(pattern.as_bytes(), key.as_bytes()), theirs, "{pattern} {key}");
        matched += usize::from(theirs);
    }
    assert!(matched > 50, "{matched} of {tried} matched");
}

/// The elements of an array of strings.
fn strings(reply: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(reply);
    text.split("\r\n")
        .filter(|part| !part.is_empty() && !part.starts_with(['*', '$', '+']))
        .map(str::to_owned)
        .collect()
}
