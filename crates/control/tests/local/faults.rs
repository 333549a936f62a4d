//! What can be wrong with a machine, and the sentence that says what to do.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;

use shoal_control::io::local::LocalRuntime;
use shoal_control::runtime::{Data, Persistence, Phase, Program, Refused, Runtime as _, Start};
use shoal_topology::Mode;

use crate::support::{World, node, options, plain, processes, redis_start};

#[test]
fn a_port_already_taken_is_refused_and_its_holder_named() {
    let world = World::new();
    let listener = TcpListener::bind((node(1).address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let start = Start { port: Some(address.port()), ..plain("x") };
    let refused = world.runtime().start(&start).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with(&format!("port {address} is taken by process {} (", std::process::id())),
        "{text}"
    );
    assert!(world.see("x").is_none() && processes(world.place.path()).is_empty(), "nothing was started");
    drop(listener);
    world.start(&start);
    world.redis("x");
    assert_eq!(world.see("x").unwrap().address, Some(address));
    let other = Start { port: Some(address.port()), ..plain("y") };
    let text = world.runtime().start(&other).unwrap_err().to_string();
    assert!(text.contains("is taken by instance x;"), "{text}");
}

#[test]
fn a_missing_redis_server_says_what_to_install() {
    let place = tempfile::tempdir().unwrap();
    let mut own = options(place.path());
    own.programs.redis_servers = vec![PathBuf::from("/nonexistent/redis-server")];
    let runtime = LocalRuntime::open(own).unwrap();
    let refused = runtime.start(&plain("x")).unwrap_err();
    assert!(matches!(refused, Refused::NoProgram { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("/nonexistent/redis-server: not found"), "{text}");
    assert!(text.contains("apt install redis-server") && text.contains("--redis-server PATH"), "{text}");
    assert!(runtime.observe().unwrap().instances.is_empty());
}

#[test]
fn another_version_than_there_is_says_what_there_is() {
    let world = World::new();
    let mut start = plain("x");
    let Program::Redis(redis) = &mut start.program else { panic!("a Redis") };
    redis.version = Some("99.1".to_owned());
    let text = world.runtime().start(&start).unwrap_err().to_string();
    assert!(text.starts_with("redis-server 99.1 is not there: redis-server is "), "{text}");
}

#[test]
fn a_setting_that_redis_does_not_know_ends_it_and_its_words_are_told() {
    let world = World::new();
    let mut start = plain("x");
    let Program::Redis(redis) = &mut start.program else { panic!("a Redis") };
    redis.settings = BTreeMap::from([("hash-max-listpack-entriez".to_owned(), "1".to_owned())]);
    world.start(&start);
    let exit = world.until("x", |observed| match &observed.phase {
        Phase::Ended(exit) => Some(exit.clone()),
        _ => None,
    });
    assert!(exit.reason.contains("ended by itself with code 1"), "{exit:?}");
    assert!(
        exit.reason.contains("hash-max-listpack-entriez") || exit.reason.contains("Bad directive"),
        "{exit:?}"
    );
    let Program::Redis(redis) = &mut start.program else { panic!("a Redis") };
    redis.settings = BTreeMap::from([("dir".to_owned(), "/".to_owned())]);
    let text = world.runtime().start(&start).unwrap_err().to_string();
    assert!(text.starts_with("x: settings.dir: dir is set by the platform itself"), "{text}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let world = World::new();
    for name in ["", "../x", "a/b", ".x", "X", "a b", "-a"] {
        let refused = world.runtime().start(&plain(name)).unwrap_err();
        assert!(matches!(refused, Refused::Invalid { .. }), "{name:?}: {refused}");
    }
}

#[test]
fn an_address_that_is_none_of_the_machine_s_is_refused() {
    let world = World::new();
    let mut start = plain("x");
    start.node.address = "192.0.2.1".parse().unwrap();
    let text = world.runtime().start(&start).unwrap_err().to_string();
    assert!(text.contains("must be an address of this machine, such as 127.0.1.1"), "{text}");
}

#[test]
fn a_record_that_cannot_be_read_is_named_and_nothing_is_started_over_it() {
    let mut world = World::new();
    world.start(&plain("x"));
    world.redis("x");
    world.runtime = None;
    let path = world.file("x", "record.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let refused = LocalRuntime::open(options(world.place.path())).unwrap_err();
    assert!(refused.may_have_happened(), "{refused}");
    assert!(refused.to_string().contains("record.json"), "{refused}");
    std::fs::write(&path, whole).unwrap();
    world.reopen();
    world.redis("x");
}

/// A disk of 1 MiB in a namespace of its own, in which this test runs itself again.
#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let inside = "SHOAL_TEST_SMALL_DISK";
    if std::env::var_os(inside).is_none() {
        let place = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=1m,mode=700 tmpfs \"$1\" || exit 77; exec \"$2\" \
             faults::a_full_disk_is_said_and_nothing_is_lost --exact --nocapture";
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh"])
            .arg(place.path())
            .arg(std::env::current_exe().unwrap())
            .env(inside, place.path())
            .output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output)
                if output.status.code() == Some(77)
                    || output.status.code() == Some(1) && output.stdout.is_empty() =>
            {
                println!(
                    "skipped: no small disk can be mounted here: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            Ok(output) => panic!(
                "{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => println!("skipped: unshare cannot be run: {error}"),
        }
        return;
    }
    let place = PathBuf::from(std::env::var_os(inside).unwrap());
    let mut world = World::at(&place);
    world.start(&redis_start("x", Mode::Storage, Persistence::None));
    world.redis("x");
    let filler = place.join("filler");
    let wrote = std::fs::write(&filler, vec![0; 2 << 20]).unwrap_err();
    assert_eq!(wrote.kind(), std::io::ErrorKind::StorageFull);
    let text = world.runtime().start(&plain("y")).unwrap_err().to_string();
    assert!(text.contains("is full: free some of it"), "{text}");
    let text = world.stop("x", Data::Keep).unwrap_err().to_string();
    assert!(text.contains("is full: free some of it"), "{text}");
    // What runs goes on, and is known to who comes after.
    world.redis("x");
    world.reopen();
    world.redis("x");
    std::fs::remove_file(&filler).unwrap();
    world.start(&plain("y"));
    world.redis("y");
    world.stop("x", Data::Remove).unwrap();
    world.gone("x");
}

#[test]
fn a_start_that_never_was_leaves_no_folder() {
    let mut world = World::new();
    // Control died while it made the folder.
    std::fs::create_dir_all(world.file("half", "data")).unwrap();
    std::fs::write(world.file("half", "lock"), "").unwrap();
    world.reopen();
    assert!(!world.file("half", "").exists());
    // What is refused leaves none either; what ran before does.
    std::fs::write(world.place.path().join("credentials/demo.tenant"), "").unwrap();
    let refused = world.runtime().start(&plain("x")).unwrap_err();
    assert!(matches!(refused, Refused::Credential { .. }), "{refused}");
    assert!(!world.file("x", "").exists() && world.see("x").is_none());
}
