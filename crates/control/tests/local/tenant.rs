//! What a tenant can do: everything, but what administers. Asked of Redis's own judge (ACL DRYRUN), and tried.

use std::collections::BTreeSet;

use shoal_control::credentials::PLATFORM;
use shoal_control::reply::Reply;
use shoal_control::runtime::Change;

use crate::support::{Client, World, plain};

/// What is refused, of all commands and subcommands that Redis 7.0 has.
const REFUSED: &str = "acl|cat acl|deluser acl|dryrun acl|genpass acl|getuser acl|help acl|list acl|load acl|log acl|save \
    acl|setuser acl|users bgrewriteaof bgsave client|kill client|no-evict client|pause client|unpause \
    cluster|addslots cluster|addslotsrange cluster|bumpepoch cluster|count-failure-reports cluster|countkeysinslot \
    cluster|delslots cluster|delslotsrange cluster|failover cluster|flushslots cluster|forget cluster|getkeysinslot \
    cluster|help cluster|info cluster|keyslot cluster|links cluster|meet cluster|myid cluster|nodes cluster|replicas \
    cluster|replicate cluster|reset cluster|saveconfig cluster|set-config-epoch cluster|setslot cluster|shards \
    cluster|slaves cluster|slots config|get config|resetstat config|rewrite config|set debug failover latency|reset \
    migrate module|list module|load module|loadex module|unload monitor pfdebug pfselftest psync replconf replicaof \
    restore-asking save shutdown slaveof slowlog|reset sync";

fn world() -> World {
    let world = World::new();
    world.start(&plain("x"));
    world.redis("x");
    world.tell("x", &Change::Open);
    world
}

#[test]
fn of_all_commands_these_are_refused_and_no_others() {
    let world = world();
    if !world.redis("x").version.starts_with("7.0.") {
        println!("skipped: the list is Redis 7.0's");
        return;
    }
    let mut platform = world.enter("x", PLATFORM, "demo.platform").unwrap();
    let Reply::Array(commands) = platform.call(&["COMMAND"]) else { panic!("a list") };
    let mut refused = BTreeSet::new();
    let mut asked = 0;
    for entry in &commands {
        let mut names = vec![entry.elements().unwrap()];
        names.extend(names[0][9].elements().unwrap_or_default().iter().filter_map(Reply::elements));
        let all = if names.len() > 1 { &names[1..] } else { &names[..] };
        for command in all {
            let name = command[0].text().unwrap();
            let Reply::Integer(arity) = command[1] else { panic!("an arity") };
            let mut words: Vec<&str> = name.split('|').collect();
            while (words.len() as i64) < arity.abs() {
                words.push("1");
            }
            let mut question = vec!["ACL", "DRYRUN", "acme"];
            question.extend(words);
            asked += 1;
            match platform.said(&question).as_str() {
                "OK" => {}
                words if words.contains("has no permissions to run") => {
                    refused.insert(name.to_owned());
                }
                words => panic!("{name}: {words}"),
            }
        }
    }
    assert!(asked > 350, "{asked} commands");
    let expected: BTreeSet<String> = REFUSED.split_whitespace().map(str::to_owned).collect();
    let more: Vec<_> = refused.difference(&expected).collect();
    let less: Vec<_> = expected.difference(&refused).collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "refused though not listed: {more:?}; listed and allowed: {less:?}"
    );
}

#[test]
fn what_is_dangerous_is_refused_when_it_is_tried() {
    let world = world();
    let mut tenant = world.enter("x", "acme", "demo.tenant").unwrap();
    for words in [
        "CONFIG SET requirepass x",
        "CONFIG GET *",
        "CONFIG REWRITE",
        "DEBUG SLEEP 0",
        "SHUTDOWN NOSAVE",
        "REPLICAOF 127.0.0.1 1",
        "SLAVEOF NO ONE",
        "ACL SETUSER acme +@all",
        "ACL LIST",
        "CLUSTER INFO",
        "MODULE LOAD /x.so",
        "MONITOR",
        "SYNC",
        "PSYNC ? -1",
        "REPLCONF listening-port 1",
        "FAILOVER",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "MIGRATE 127.0.0.1 1 k 0 1",
        "CLIENT KILL TYPE normal",
        "CLIENT PAUSE 1",
        "CLIENT NO-EVICT on",
        "SLOWLOG RESET",
        "LATENCY RESET",
        "PFDEBUG TODENSE k",
    ] {
        let said = tenant.said(&words.split(' ').collect::<Vec<_>>());
        // DEBUG and MODULE are off by themselves besides, and some are nobody's in a transaction.
        let no = |said: &str| {
            let stopped = [
                "NOPERM",
                "ERR DEBUG command not allowed",
                "ERR MODULE command not allowed",
                "ERR Command not allowed inside a transaction",
            ];
            stopped.iter().any(|words| said.starts_with(words))
        };
        assert!(no(&said), "{words}: {said}");
        // Within a transaction and a script as well.
        let mut script = "return redis.call('".to_owned();
        script.push_str(&words.split(' ').collect::<Vec<_>>().join("','"));
        script.push_str("')");
        let said = tenant.said(&["EVAL", &script, "0"]);
        let stopped = [
            "ACL failure",
            "NOPERM",
            "not allowed from script",
            "DEBUG command not allowed",
            "can't run this command",
        ];
        assert!(stopped.iter().any(|word| said.contains(word)), "{words} in a script: {said}");
        assert_eq!(tenant.said(&["MULTI"]), "OK");
        assert!(no(&tenant.said(&words.split(' ').collect::<Vec<_>>())), "{words} in a transaction");
        assert!(tenant.said(&["EXEC"]).starts_with("EXECABORT"));
    }
    for words in [
        "SET k v",
        "KEYS *",
        "SORT l",
        "INFO",
        "ROLE",
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
        "CLIENT LIST",
        "CLIENT SETNAME app",
        "CLIENT ID",
        "SLOWLOG GET",
        "LATENCY LATEST",
        "LASTSAVE",
        "WAIT 0 0",
        "SELECT 3",
        "SCAN 0",
        "FUNCTION LIST",
        "SCRIPT FLUSH",
        "OBJECT FREQ k",
        "MEMORY USAGE k",
        "COMMAND COUNT",
        "PUBLISH news x",
        "ACL WHOAMI",
        "PING",
        "HELLO 2",
    ] {
        let said = tenant.said(&words.split(' ').collect::<Vec<_>>());
        assert!(!said.starts_with("NOPERM"), "{words}: {said}");
    }
    assert!(world.redis("x").used_memory > 0, "it lives");
}

#[test]
fn nobody_but_the_platform_speaks_to_the_sentinels() {
    let world = world();
    let mut tenant = world.enter("x", "acme", "demo.tenant").unwrap();
    let forged = "10.0.0.1,26379,f53e3b81a1062dbaa77d77f944f19e75dedaad94,9,demo,10.0.0.1,6379,9";
    assert!(tenant.said(&["PUBLISH", "__sentinel__:hello", forged]).starts_with("NOPERM"));
    let said =
        tenant.said(&["EVAL", "return redis.call('PUBLISH', '__sentinel__:hello', ARGV[1])", "0", forged]);
    assert!(said.contains("can't publish to the channel"), "{said}");
    let mut proxy = world.enter("x", "shoal-proxy-1", "demo.proxy-1").unwrap();
    assert!(proxy.said(&["PUBLISH", "__sentinel__:hello", forged]).starts_with("NOPERM"));
    // All other channels are theirs, patterns too.
    assert_eq!(tenant.call(&["PUBLISH", "__sentinel", "x"]), Reply::Integer(0));
    assert_eq!(tenant.call(&["PUBLISH", "_", "x"]), Reply::Integer(0));
    let said = tenant.call(&["PSUBSCRIBE", "news.*"]);
    if world.redis("x").version.starts_with("6.") {
        assert!(
            said.error().is_some_and(|words| words.starts_with("NOPERM")),
            "there the channels have their price"
        );
    } else {
        assert!(matches!(said, Reply::Array(_)), "{said:?}");
    }
}

#[test]
fn a_tenant_s_password_opens_no_other_user() {
    let world = world();
    let address = world.see("x").unwrap().address.unwrap();
    let password = world.password("demo.tenant");
    for user in ["default", PLATFORM, "shoal-sentinel", "shoal-replica", "shoal-proxy-1", "other"] {
        let said = Client::connect(address).said(&["AUTH", user, &password]);
        assert!(said.starts_with("WRONGPASS"), "{user}: {said}");
    }
}
