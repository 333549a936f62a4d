//! A proxy that cannot start says why: which file, line and key, which address and pool; and `--check` says it without
//! binding anything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;

use shoal_e2e::startup::{errors, local, nutcracker_yml, proxy_yml, run, show};
use shoal_e2e::{ShoalProxy, Workplace, ports};

fn shoal(args: &[&str]) -> Output {
    run(&ShoalProxy::program(), args)
}

#[test]
fn check_takes_both_kinds_of_file_and_binds_nothing() {
    let workplace = Workplace::new();
    let taken = TcpListener::bind(local(ports::free())).expect("listen");
    let port = taken.local_addr().expect("an address").port();
    let (own, theirs) = (proxy_yml(&workplace, port, ""), nutcracker_yml(&workplace, port, ""));
    let bad_own = proxy_yml(&workplace, port, "    hahs: md5\n");
    let bad_theirs = nutcracker_yml(&workplace, port, "  hahs: md5\n");
    for (flag, good, bad) in [("--config", &own, &bad_own), ("--nutcracker", &theirs, &bad_theirs)] {
        for check in ["--check", "-t", "--test-conf"] {
            let output = shoal(&["proxy", flag, &good.to_string_lossy(), check]);
            assert!(output.status.success() && errors(&output).contains("1 pools"), "{output:?}");
            let output = shoal(&["proxy", flag, &bad.to_string_lossy(), check]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(errors(&output).contains("hahs"), "{output:?}");
        }
    }
    let neither = shoal(&["proxy", "--check"]);
    assert!(!neither.status.success() && errors(&neither).contains("--config"), "{neither:?}");
}

#[test]
fn an_error_in_a_file_names_file_line_and_key() {
    let workplace = Workplace::new();
    let port = ports::free();
    let rows: [(&str, PathBuf, &[&str]); 11] = [
        ("--config", proxy_yml(&workplace, port, "    hahs: md5\n"), &["line 6", "hahs"]),
        ("--config", proxy_yml(&workplace, port, "    timeout: soon\n"), &["line 6", "timeout"]),
        ("--config", proxy_yml(&workplace, port, "    timeout: 0\n"), &["alpha", "timeout"]),
        ("--config", proxy_yml(&workplace, port, "    hash: sha3\n"), &["alpha", "hash", "sha3"]),
        ("--config", proxy_yml(&workplace, port, "    eject: {failure_limit: 1}\n"), &["alpha", "eject"]),
        ("--config", proxy_yml(&workplace, port, "    server_connections: 65\n"), &["server_connections"]),
        ("--config", workplace.write("proxy.yml", "pools: []\n"), &["pools"]),
        ("--config", workplace.write("proxy.yml", "pools: [\n"), &["line"]),
        ("--nutcracker", nutcracker_yml(&workplace, port, "  hahs: md5\n"), &["line 4", "alpha", "hahs"]),
        ("--nutcracker", nutcracker_yml(&workplace, port, "  timeout: soon\n"), &["line 4", "timeout"]),
        ("--nutcracker", nutcracker_yml(&workplace, port, "  redis: false\n"), &["alpha", "redis"]),
    ];
    for (flag, file, names) in rows {
        let path = file.to_string_lossy();
        let output = shoal(&["proxy", flag, &path]);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        for name in names.iter().chain([&&*path]) {
            assert!(said.contains(name), "{name} is not named: {said}{}", show(&file));
        }
    }
    let none = shoal(&["proxy", "--config", "/no/such/proxy.yml"]);
    assert!(none.status.code() == Some(1) && errors(&none).contains("/no/such/proxy.yml"), "{none:?}");
}

#[test]
fn a_taken_port_is_named_with_its_pool() {
    let workplace = Workplace::new();
    let taken = TcpListener::bind(local(ports::free())).expect("listen");
    let port = taken.local_addr().expect("an address").port();
    let address = local(port).to_string();
    let own = proxy_yml(&workplace, port, "");
    let theirs = nutcracker_yml(&workplace, port, "");
    let (own, theirs) = (own.to_string_lossy(), theirs.to_string_lossy());
    let stats = ports::free().to_string();
    let nutcracker = ShoalProxy::as_nutcracker(&workplace);
    for output in [
        shoal(&["proxy", "--config", &own]),
        shoal(&["proxy", "--nutcracker", &theirs, "--admin", "none", "-s", &stats]),
        run(&nutcracker, &["-c", &theirs, "-s", &stats, "-a", "127.0.0.1"]),
        run(&nutcracker, &["-d", "-c", &theirs, "-s", &stats, "-a", "127.0.0.1"]),
    ] {
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said.contains(&address) && said.contains("pool alpha") && said.contains("in use"), "{said}");
    }
    // The ports that belong to no pool.
    let free = proxy_yml(&workplace, ports::free(), "");
    let free = free.to_string_lossy();
    for (args, says) in [
        (["--stats-port", &port.to_string(), "--admin", "none"], "statistics"),
        (["--admin", &address, "--random-seed", "1"], "admin"),
    ] {
        let output = shoal(&[&["proxy", "--config", &free], &args[..]].concat());
        let said = errors(&output);
        assert!(output.status.code() == Some(1) && said.contains(&address) && said.contains(says), "{said}");
    }
}

#[test]
fn a_password_file_that_everybody_may_read_is_refused() {
    let workplace = Workplace::new();
    let password = workplace.write("password", "secret\n");
    let path = password.to_string_lossy();
    let file = proxy_yml(&workplace, ports::free(), &format!("    password_file: {path}\n"));
    let check = |mode| {
        fs::set_permissions(&password, fs::Permissions::from_mode(mode)).expect("change the mode");
        shoal(&["proxy", "--check", "--config", &file.to_string_lossy()])
    };
    for mode in [0o644, 0o604, 0o602, 0o666] {
        let output = check(mode);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{mode:o}: {output:?}");
        assert!(said.contains(&*path) && said.contains("chmod 600") && !said.contains("secret"), "{said}");
    }
    for mode in [0o600, 0o400, 0o640] {
        assert!(check(mode).status.success(), "{mode:o}");
    }
    fs::write(&password, "\n").expect("empty it");
    let output = check(0o600);
    assert!(output.status.code() == Some(1) && errors(&output).contains("empty"), "{output:?}");
    fs::remove_file(&password).expect("remove it");
    let output = shoal(&["proxy", "--check", "--config", &file.to_string_lossy()]);
    assert!(output.status.code() == Some(1) && errors(&output).contains(&*path), "{output:?}");
}
