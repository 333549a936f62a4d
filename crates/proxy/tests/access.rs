//! Who may enter, as a `proxy.yml` and the files that it names say it.

#![expect(clippy::disallowed_methods, reason = "files of passwords are written")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shoal_proxy::access::{Access, Limits};
use shoal_proxy::config::from_proxy_yml;
use shoal_proxy::settings::PoolSettings;

/// `printf %s secret | sha256sum`
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn private(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    fs::write(&file, text).expect("write a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("make it private");
}

/// The pool that these lines make, in a folder with some files; or why there is none.
fn pool(lines: &str) -> Result<PoolSettings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    private(folder.path(), "two", "new\nold\n");
    private(folder.path(), "hashed", &format!("#{SECRET}\n\nclear\n"));
    private(folder.path(), "empty", "\n");
    private(folder.path(), "many", &(0..17).map(|n| format!("p{n}\n")).collect::<String>());
    private(folder.path(), "acl", &format!("# users\n\nuser one on #{SECRET} ~* +@all\n  user two off\n"));
    private(folder.path(), "bad-acl", "user one on +nosuch\n");
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "pools:\n  - name: door\n    mode: storage\n    listen: 127.0.0.1:1\n{lines}    servers: [{{address: 127.0.0.1:2}}]\n"
    );
    let file = folder.path().join("proxy.yml");
    private(folder.path(), "proxy.yml", &text);
    let config = from_proxy_yml(&file, &text, 1).map_err(|error| error.to_string())?;
    Ok(config.settings.pools.into_iter().next().expect("a pool"))
}

fn enters(access: &Access, name: &str, password: &str) -> bool {
    access.enter(name.as_bytes(), password.as_bytes()).is_ok()
}

fn servers(pool: &PoolSettings) -> Option<(Option<&str>, Vec<&str>)> {
    let auth = pool.server_auth.as_ref()?;
    Some((auth.user.as_deref(), auth.passwords.iter().map(|one| one.reveal()).collect()))
}

#[test]
fn several_passwords_are_valid_and_the_first_is_preferred() {
    let two = pool("password_file: two").unwrap();
    assert!(enters(&two.access, "default", "new") && enters(&two.access, "default", "old"));
    assert!(!enters(&two.access, "default", "") && !two.access.is_open() && !two.access.is_guarded());
    assert_eq!(servers(&two), Some((None, vec!["new", "old"])));
    let both = pool("password: newest\npassword_file: two").unwrap();
    assert_eq!(servers(&both), Some((None, vec!["newest", "new", "old"])));
}

#[test]
fn servers_may_have_their_own() {
    let own = pool("password: a\nserver_auth: {user: shoal, password_file: two}").unwrap();
    assert_eq!(servers(&own), Some((Some("shoal"), vec!["new", "old"])));
    assert!(enters(&own.access, "default", "a") && !enters(&own.access, "default", "new"));
    assert_eq!(servers(&pool("password: a\nserver_auth: {}").unwrap()), None);
    assert_eq!(servers(&pool("").unwrap()), None);
}

#[test]
fn where_there_are_users_nobody_enters_without_a_name() {
    let named = pool("users:\n- {name: app, rules: 'on ~*', password_file: hashed}").unwrap().access;
    assert!(!named.is_open() && !enters(&named, "default", ""));
    assert!(
        enters(&named, "app", "secret") && enters(&named, "app", "clear") && !enters(&named, "app", SECRET)
    );
    let with = pool("password: a\nusers:\n- {name: app, rules: 'on nopass'}").unwrap().access;
    assert!(!with.is_open() && enters(&with, "default", "a") && !with.user(0).is_restricted());
    let less = pool("password: a\nusers:\n- {name: default, rules: 'on +get'}").unwrap().access;
    assert!(enters(&less, "default", "a") && less.user(0).is_restricted() && less.is_guarded());
    let open = pool("users:\n- {name: default, rules: 'on nopass +get'}").unwrap().access;
    assert!(open.is_open() && open.is_guarded());
}

#[test]
fn a_users_acl_is_taken_as_it_is() {
    let access = pool("users_file: acl\nusers:\n- {name: three, rules: 'off'}").unwrap().access;
    let names: Vec<&str> = access.users().iter().map(|user| &*user.name).collect();
    assert_eq!(names, ["default", "three", "one", "two"]);
    assert!(enters(&access, "one", "secret") && !enters(&access, "two", "secret"));
}

#[test]
fn limits_are_of_the_pool_and_of_users() {
    let both = pool(
        "limits: {max_connections: 5, bytes_per_second: 7}\nusers:\n- {name: app, rules: 'off', limits: {requests_per_second: 6}}",
    );
    let access = both.unwrap().access;
    let none = Limits::default();
    assert_eq!(access.limits, Limits { max_connections: Some(5), bytes_per_second: Some(7), ..none });
    assert_eq!(access.user(1).limits, Limits { requests_per_second: Some(6), ..none });
    assert!(access.is_guarded() && access.user(0).limits == none);
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    for (lines, part) in [
        ("password: ''", "password: it is empty"),
        ("password_file: empty", "empty is empty"),
        ("password_file: many", "more than 16 passwords"),
        ("server_auth: {user: shoal}", "server_auth: user: it has no password"),
        ("server_auth: {user: 'a b', password: x}", "no blanks"),
        ("users:\n- {name: app, rules: 'on +get'}", "users: app is on and has no password"),
        (
            "users:\n- {name: app, rules: 'on +nosuch'}",
            "users: app: rules: rule +nosuch: there is no such command",
        ),
        ("users:\n- {name: 'a b', rules: 'off'}", "users: a b: a user's name"),
        ("users:\n- {name: '', rules: 'off'}", "1 to 256 bytes"),
        ("users:\n- {name: app, rules: 'off'}\n- {name: app, rules: 'off'}", "app is there twice"),
        ("users_file: acl\nusers:\n- {name: one, rules: 'off'}", "one is there twice"),
        ("users_file: bad-acl", "users_file: bad-acl: line 1: rule +nosuch"),
        ("users_file: two", "line 1: write user, a name, and rules"),
        ("users_file: empty", "it names nobody: leave the key out"),
        ("users_file: nowhere", "nowhere"),
        ("password: a\nusers:\n- {name: default, rules: 'on nopass'}", "leave one of the two out"),
        ("limits: {max_connections: 0}", "limits: max_connections: 0 would let nobody in"),
        ("limits: {connections: 1}", "connections"),
        ("users:\n- {name: app, rules: 'off', limits: {bytes_per_second: 0}}", "bytes_per_second: 0"),
    ] {
        let error = pool(lines).unwrap_err();
        assert!(error.contains(part), "{lines}: {error}");
    }
}

#[test]
fn the_commented_example_is_right_without_its_comments() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["demo.password", "servers.password", "app.password"] {
        private(folder.path(), name, "secret\n");
    }
    private(folder.path(), "users.acl", "user listed off\n");
    let keys =
        ["password_file:", "server_auth:", "users:", "users_file:", "limits:", "  - name: app", "    "];
    let uncommented: String = include_str!("../../../config/proxy.yml")
        .lines()
        .map(|line| match line.strip_prefix("    # ") {
            Some(key) if keys.iter().any(|own| key.starts_with(own)) => format!("    {key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = from_proxy_yml(&folder.path().join("proxy.yml"), &uncommented, 1).unwrap();
    let demo = &config.settings.pools[0];
    let app = demo.access.user(demo.access.named(b"app").unwrap());
    assert_eq!(app.limits.requests_per_second, Some(5000));
    assert_eq!(demo.access.limits.max_connections, Some(5000));
    assert!(demo.access.named(b"listed").is_some() && enters(&demo.access, "app", "secret"));
    assert_eq!(servers(demo), Some((Some("shoal"), vec!["secret"])));
}
