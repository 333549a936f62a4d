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
        (&pool("    distribution: sideways\n"), "ketama"),
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

#[test]
fn a_key_without_a_value_is_refused_wherever_it_stands() {
    let app = "users:\n    - {name: app, rules: 'off', ";
    let cases = [
        ("password: #swordfish", "password is empty"),
        ("password:", "password is empty"),
        ("password: ~", "password is empty"),
        ("password: null", "password is empty"),
        ("password_file:", "password_file is empty"),
        ("users:", "users"),
        ("users:\n    -", ""),
        ("users_file: #users.acl", "users_file is empty"),
        ("limits:", "limits"),
        ("limits: {max_connections: }", "max_connections is empty"),
        (&*format!("{app}password_file: }}"), "password_file is empty"),
        (&*format!("{app}limits: }}"), ""),
        ("server_auth:", "server_auth"),
        ("server_auth: {password: }", "password is empty"),
        ("server_auth: {password: x, user: }", "user is empty"),
        ("tls:", "tls"),
        ("tls: {cert: c, key: k, client_ca: }", "client_ca is empty"),
        ("server_tls:", "server_tls"),
        ("server_tls: {ca: c, cert: , key: }", "cert is empty"),
        ("durability:", "durability"),
    ];
    for (lines, part) in cases {
        let said = refusal(&pool(&format!("    {lines}\n")));
        assert!(
            said.contains(part) && !said.contains("swordfish"),
            "{lines}: {said:?} does not say {part:?}"
        );
        assert!(said.contains("line "), "{lines}: {said}");
    }
    let servers = pool("")
        .replace("{address: 127.0.0.1:2}", "{sentinels: ['s:1'], master_name: m, sentinel_password_file: }");
    assert!(refusal(&servers).contains("sentinel_password_file is empty"), "{}", refusal(&servers));
    // What begins with # is a value in quotes, and what looks like a number is one.
    for password in ["'#s3cret'", "12345678901234567890123", "1e999", ".inf", "true"] {
        let text = pool(&format!("    password: {password}\n"));
        let access =
            read(&text).unwrap_or_else(|error| panic!("{password}: {error}")).settings.pools.remove(0).access;
        let bare = password.trim_matches('\'');
        assert!(!access.is_open() && access.enter(b"default", bare.as_bytes()).is_ok(), "{password}");
    }
}

/// Every way to write a file wrong by one character, where it holds passwords.
#[test]
fn no_mistake_of_one_character_has_a_password_repeated() {
    let lines = "    password: hunterfish\n    server_auth: {user: shoal, password: hunterfish}\n    \
                 users: [{name: app, rules: \"on #hunterfish ~* hunterfish\"}]\n";
    let text = pool(lines);
    let (from, to) = (text.find("password").unwrap(), text.find("    servers").unwrap());
    let mut told = 0;
    for at in from..to {
        let (before, rest) = text.split_at(at);
        let kept = &rest[1..];
        let changed = " \n:,#{}[]'\"!&*|>-?%@`~x\t"
            .chars()
            .flat_map(|new| [format!("{before}{new}{kept}"), format!("{before}{new}{rest}")]);
        for text in changed.chain([format!("{before}{kept}")]) {
            let Err(error) = read(&text) else { continue };
            let said = error.to_string();
            if ["rule -", "rule %", "rule @"].iter().any(|rule| said.contains(rule)) {
                continue; // what begins so is shown: it names a command or a pattern
            }
            told += 1;
            // Half of it, too, where it was cut in two.
            for part in ["hunter", "fish"] {
                assert!(!said.contains(part), "{said}\n{text}");
            }
        }
    }
    assert!(told > 1000, "{told}");
}

#[test]
fn a_missing_blank_behind_a_colon_is_named_and_a_word_that_is_no_key_is_not() {
    let said = refusal(&pool("    server_auth: {user: shoal, password:swordfish}\n"));
    assert!(
        said.contains("a blank is missing behind `password:`") && said.contains(": server_auth"),
        "{said}"
    );
    let said = refusal(&pool("    users: [{name: app, rules:\"on ~swordfish\"}]\n"));
    assert!(said.contains("users") && !said.contains("swordfish"), "{said}");
    let said = refusal(&pool("    server_auth: {user: shoal, swordfish}\n"));
    assert!(
        said.contains("one of these keys is expected: user, password") && !said.contains("swordfish"),
        "{said}"
    );
    assert!(refusal(&pool("    pasword: swordfish\n")).contains("unknown key `pasword`"));
}
