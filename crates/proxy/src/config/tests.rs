use super::*;

const EXAMPLE: &str = include_str!("../../../../config/proxy.yml");

fn read(text: &str) -> Result<ProxyConfig, Error> {
    from_proxy_yml(Path::new("proxy.yml"), text, 2)
}

fn refusal(text: &str) -> String {
    let error = read(text).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn pool(more: &str) -> String {
    format!(
        "pools:\n  - name: alpha\n    mode: storage\n    listen: 127.0.0.1:1\n{more}    servers:\n      - {{address: 127.0.0.1:2}}\n"
    )
}

#[test]
fn the_commented_example_is_right_and_means_what_it_says() {
    let config = read(EXAMPLE).unwrap();
    assert_eq!((config.settings.workers, config.admin.as_str()), (2, "127.0.0.1:9180"));
    let [demo, hot] = &config.settings.pools[..] else { panic!("two pools") };
    assert_eq!((demo.pool.distribution, demo.ejection), (Distribution::Modula, None));
    let keys = EjectedKeys::Move { empty_on_return: true };
    let ejection = Ejection { failure_limit: 3, retry_after: Duration::from_secs(600), keys };
    assert_eq!((hot.pool.distribution, hot.ejection), (Distribution::Ketama, Some(ejection)));
    assert_eq!(hot.timeout, Some(Duration::from_millis(400)));
    assert_eq!(demo.dialect, Dialect::Shoal);
}

#[test]
fn what_is_left_out_has_the_defaults_that_the_example_names() {
    let config = read(&pool("")).unwrap();
    let alpha = &config.settings.pools[0];
    assert_eq!((alpha.backlog, alpha.server_connections, alpha.database), (512, 1, 0));
    assert_eq!((alpha.timeout, alpha.gather, alpha.multi_key), (None, true, MultiKey::Refuse));
    assert_eq!((alpha.allow_flush, alpha.keyless_scripts), (false, None));
    assert!(!alpha.pass_admin_commands);
    assert_eq!(alpha.pool.shards[0].name, "127.0.0.1:2");
    assert_eq!(config.settings.workers, 2);
    assert_eq!(config.stats, None);
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let cases = [
        ("pools: []\n", "no pools"),
        (&*pool("    colour: red\n"), "colour"),
        (&pool("    eject: {failure_limit: 2}\n"), "only a pool of mode cache ejects"),
        (&pool("    timeout: 0\n"), "timeout: 0 would fail every request"),
        (&pool("    hash: fnv\n"), "fnv1a_64"),
        (&pool("    distribution: sideways\n"), "sideways"),
        (&pool("    hash_tag: \"{\"\n"), "hash_tag"),
        (&pool("    server_connections: 0\n"), "between 1 and 64"),
        (&pool("    password_file: nowhere\n"), "nowhere"),
        (&pool("").replace("127.0.0.1:2", "127.0.0.1"), "port"),
        (&pool("    keyless_scripts: elsewhere\n"), "no server is called elsewhere"),
        (
            &format!("{}      - {{address: 127.0.0.1:3}}\n", pool("    pass_admin_commands: true\n")),
            "concern one server, and the pool has 2",
        ),
        (&format!("workers: 0\n{}", pool("")), "between 1 and 512"),
    ];
    for (text, part) in cases {
        let said = refusal(text);
        assert!(said.starts_with("proxy.yml") && said.contains(part), "{said:?} does not say {part:?}");
    }
}

#[test]
fn a_shard_for_scripts_without_keys_is_named() {
    let config = read(&pool("    keyless_scripts: 127.0.0.1:2\n    allow_flush: true\n")).unwrap();
    let alpha = &config.settings.pools[0];
    assert_eq!((alpha.keyless_scripts, alpha.allow_flush), (Some(0), true));
}

#[test]
fn two_pools_on_one_address_are_refused() {
    let second = pool("").replace("alpha", "beta").replace("pools:\n", "");
    let said = refusal(&format!("{}{second}", pool("")));
    assert!(said.contains("both listen on 127.0.0.1:1"), "{said}");
}

#[test]
fn the_keys_of_a_dead_shard_move_or_fail() {
    let cache = |eject: &str| {
        let text = pool(&format!("    eject: {eject}\n")).replace("mode: storage", "mode: cache");
        read(&text).map(|config| config.settings.pools[0].ejection.unwrap().keys)
    };
    assert_eq!(cache("{keys: fail}").unwrap(), EjectedKeys::Fail);
    assert_eq!(cache("{keys: move}").unwrap(), EjectedKeys::Move { empty_on_return: true });
    assert_eq!(cache("{empty_on_return: false}").unwrap(), EjectedKeys::Move { empty_on_return: false });
    let both = cache("{keys: fail, empty_on_return: true}").unwrap_err().to_string();
    assert!(both.contains("leave one of the two out"), "{both}");
}
