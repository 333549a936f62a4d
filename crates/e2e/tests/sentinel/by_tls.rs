//! Instances and sentinels that are spoken to by TLS, and what is said of certificates that are wrong.

use std::net::SocketAddr;
use std::path::PathBuf;

use shoal_e2e::sentinel::WATCHED_AS;
use shoal_e2e::tls::{Authority, Identity};
use shoal_e2e::{OwnPool, OwnProxy, Proxy as _, Sentinel, Shown, Watched, Workplace, wait};

use super::{DOWN_AFTER_MS, lead, wait_for_primary};

struct Ground {
    workplace: Workplace,
    folder: PathBuf,
    authority: Authority,
    own: Identity,
}

impl Ground {
    fn new() -> Ground {
        let workplace = Workplace::new();
        let folder = workplace.subdir("certificates");
        let authority = Authority::new(&folder, "ours");
        let own = authority.issue(&folder, "own");
        Ground { workplace, folder, authority, own }
    }

    fn shown<'g>(&'g self, own: &'g Identity) -> Shown<'g> {
        Shown { authority: &self.authority, own }
    }

    /// `server_tls` and `sentinel_tls` of a proxy that shows a certificate, with `more` keys.
    fn tls(&self, more: &str) -> String {
        format!("{{ca: {}, {}{more}}}", self.authority.file.display(), self.own.yaml())
    }

    /// A proxy whose shard these sentinels watch, with these keys.
    fn proxy(&self, sentinels: &[SocketAddr], keys: &[(&str, &str)]) -> OwnProxy {
        let pool = OwnPool::watched("w", sentinels, WATCHED_AS).key("timeout", "1000");
        let pool = keys.iter().fold(pool, |pool, (key, value)| pool.key(key, value));
        OwnProxy::start(&self.workplace, 2, &[pool])
    }
}

#[test]
fn a_killed_primary_is_followed_by_tls() {
    let ground = Ground::new();
    let mut watched = Watched::start_by(&ground.workplace, DOWN_AFTER_MS, Some(ground.shown(&ground.own)));
    let tls = ground.tls("");
    let sentinels: Vec<SocketAddr> = watched.sentinels.iter().map(Sentinel::tls_addr).collect();
    let all = ground.proxy(&sentinels, &[("server_tls", &tls), ("sentinel_tls", &tls)]);
    let instances_alone = ground.proxy(&watched.addrs(), &[("server_tls", &tls)]);
    let [before, after] = watched.tls_addrs[..] else { panic!("two instances") };
    wait_for_primary(&instances_alone, before);
    let mut client = instances_alone.client("w");
    assert_eq!(client.call(&["SET", "key", "value"]), b"+OK\r\n");
    let [old, new] = &mut watched.instances[..] else { panic!("two instances") };
    lead("kill -9 under TLS", &all, after, || old.kill());
    wait_for_primary(&instances_alone, after);
    wait::until("the other proxy to write", || {
        (client.call(&["SET", "key", "again"]) == b"+OK\r\n").then_some(())
    });
    // Whoever speaks to the instance does so by TLS, but for who asks it here.
    let list = String::from_utf8_lossy(&new.client().call(&["CLIENT", "LIST"])).into_owned();
    let plain = list.lines().filter(|line| line.contains(&format!(" laddr={} ", new.addr())));
    let strangers: Vec<&str> = plain.filter(|line| !line.contains("cmd=client|list")).collect();
    assert!(strangers.is_empty() && list.contains(&format!(" laddr={after} ")), "{list}");
    let (_, topology) = all.get("/topology");
    assert!(topology.contains("\"reachable\": 3") || topology.contains("\"reachable\":3"), "{topology}");
}

/// What the proxy says of a shard that it does not serve, once it contains `part`.
#[track_caller]
fn wait_to_say(proxy: &OwnProxy, part: &str) {
    let said = wait::at_most(wait::DEADLINE, || proxy.log().contains(part).then_some(()));
    assert!(said.is_some(), "{part:?} is not said:\n{}", proxy.log());
    let mut client = proxy.client("w");
    let told = String::from_utf8_lossy(&client.call(&["GET", "key"])).into_owned();
    assert!(told.starts_with("-ERR shard w-0 of pool w has no primary at the moment"), "{told}");
    assert!(proxy.get("/shards").1.contains(part), "{}", proxy.get("/shards").1);
}

#[test]
fn a_sentinel_that_is_not_trusted_is_named_with_why() {
    let ground = Ground::new();
    let stranger = Authority::new(&ground.folder, "stranger");
    let theirs = stranger.issue(&ground.folder, "theirs");
    let (_primary, watched_at) = ground.shown(&ground.own).start_server(&ground.workplace, &[]);
    let start = |shown| Sentinel::start_by(&ground.workplace, watched_at, 1, DOWN_AFTER_MS, Some(shown));
    let (good, bad) = (start(ground.shown(&ground.own)), start(ground.shown(&theirs)));
    let (tls, trust) = (ground.tls(""), format!("{{ca: {}}}", ground.authority.file.display()));
    let keys = [("server_tls", tls.as_str()), ("sentinel_tls", tls.as_str())];

    let why =
        "it has a certificate that is not accepted: no certificate authority that is trusted here signed it";
    let proxy = ground.proxy(&[bad.tls_addr()], &keys);
    wait_to_say(&proxy, &format!("none of its sentinels answers: {}: {why}", bad.tls_addr()));
    // One that is not trusted among others is no reason not to serve, and can be seen.
    let proxy = ground.proxy(&[good.tls_addr(), bad.tls_addr()], &keys);
    wait_for_primary(&proxy, watched_at);
    wait::until("the bad one to be named", || {
        proxy.get("/topology").1.contains(&format!("\"{}: {why}\"", bad.tls_addr())).then_some(())
    });
    // It asks for a certificate, and is shown none.
    let proxy = ground.proxy(&[good.tls_addr()], &[("server_tls", &tls), ("sentinel_tls", &trust)]);
    let why = "it does not accept this proxy: it asks for a certificate";
    wait_to_say(&proxy, &format!("none of its sentinels answers: {}: {why}", good.tls_addr()));
    // It is spoken to in clear where it speaks TLS.
    let proxy = ground.proxy(&[good.tls_addr()], &[("server_tls", &tls)]);
    wait_to_say(&proxy, &format!("none of its sentinels answers: {}: ", good.tls_addr()));
    let log = proxy.log();
    assert!(log.contains("it closes the connection") || log.contains("Connection reset by peer"), "{log}");
    // It is spoken to by TLS where it does not speak it: it waits for the end of a line.
    let proxy = ground.proxy(&[good.addr()], &keys);
    wait_to_say(&proxy, &format!("none of its sentinels answers: {}: it d", good.addr()));
    assert!(proxy.log().contains("TLS"), "{}", proxy.log());
}

#[test]
fn an_instance_that_is_not_trusted_is_named_with_why_and_told_nothing() {
    let ground = Ground::new();
    let password = ground.workplace.write("password", "a-secret-word\n");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let password = password.display().to_string();
    // Sentinels ask who signed a certificate, and for no name.
    let elsewhere = ground.authority.issue_for(&ground.folder, "elsewhere", &["redis.example"], 4000);
    let (instance, watched_at) = ground.shown(&elsewhere).start_server(&ground.workplace, &[]);
    let sentinel =
        Sentinel::start_by(&ground.workplace, watched_at, 1, DOWN_AFTER_MS, Some(ground.shown(&ground.own)));
    let auth = format!("{{password_file: {password}}}");
    let begin = format!("{watched_at} is named, and does not say that it is the primary: it");
    let keys =
        |tls: &str| [("server_tls".to_owned(), tls.to_owned()), ("server_auth".to_owned(), auth.clone())];
    let proxy = |tls: &str| {
        let keys = keys(tls);
        let keys: Vec<(&str, &str)> =
            keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        ground.proxy(&[sentinel.addr()], &keys)
    };
    let by_address = proxy(&ground.tls(""));
    wait_to_say(&by_address, &format!("{begin} has a certificate that is not accepted: "));
    assert!(by_address.log().contains("redis.example"), "the name that it has: {}", by_address.log());
    let nothing_shown = format!("{{ca: {}, server_name: redis.example}}", ground.authority.file.display());
    let unknown = proxy(&nothing_shown);
    wait_to_say(&unknown, &format!("{begin} does not accept this proxy: it asks for a certificate"));
    let stats = String::from_utf8_lossy(&instance.client().call(&["INFO", "commandstats"])).into_owned();
    assert!(!stats.contains("cmdstat_auth") && !stats.contains("cmdstat_role"), "it was asked: {stats}");
    // The same instance under the name that it has.
    let pool = OwnPool::watched("w", &[sentinel.addr()], WATCHED_AS)
        .key("server_tls", &ground.tls(", server_name: redis.example"));
    let good = OwnProxy::start(&ground.workplace, 2, &[pool]);
    wait_for_primary(&good, watched_at);
    assert_eq!(good.client("w").call(&["SET", "key", "value"]), b"+OK\r\n");
}
