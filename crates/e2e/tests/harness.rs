//! The harness itself: what it starts answers, and is gone when its owner is.

use std::path::Path;
use std::time::Duration;

use shoal_e2e::{
    Answer, Config, End, FakeServer, Nutcracker, Pool, Proxy, RawClient, RedisServer, Workplace, wait,
};

#[test]
fn a_server_stops_resumes_dies_and_restarts() {
    let workplace = Workplace::new();
    let mut server = RedisServer::start(&workplace, &["--maxmemory", "10mb"]);
    let mut client = server.client();
    assert_eq!(client.call(&["SET", "a", "1"]), b"+OK\r\n");
    server.stop();
    client.send_command(&["GET", "a"]);
    client.set_deadline(Duration::from_millis(50));
    assert_eq!(client.read_up_to(1).1, End::TimedOut);
    server.resume();
    client.set_deadline(wait::DEADLINE);
    client.expect(b"$1\r\n1\r\n");
    server.kill();
    assert_eq!(client.until_closed(), b"");
    assert!(RawClient::try_connect(server.addr()).is_err());
    server.restart();
    assert_eq!(server.client().call(&["GET", "a"]), b"$-1\r\n");
}

#[test]
fn what_is_dropped_is_gone_stopped_or_not() {
    let workplace = Workplace::new();
    let dir = workplace.path().to_path_buf();
    let server = RedisServer::start(&workplace, &[]);
    let proxy =
        Nutcracker::start(&workplace, &Config::of(Pool::new("alpha", vec![format!("{}:1", server.addr())])));
    let pids = [server.pid(), proxy.pid()];
    let runs = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.iter().all(runs));
    server.stop();
    drop((server, proxy, workplace));
    assert!(!pids.iter().any(runs));
    assert!(!dir.exists());
}

#[test]
fn a_program_that_ends_at_once_is_told_with_its_log() {
    let told = std::panic::catch_unwind(|| RedisServer::start(&Workplace::new(), &["--no-such-option", "1"]));
    let message = told.expect_err("it cannot start").downcast::<String>().expect("a sentence");
    assert!(message.contains("no-such-option"), "{message}");
}

#[test]
fn a_fake_answers_as_it_is_told() {
    let fake = FakeServer::start(Answer::index(7));
    let mut client = RawClient::connect(fake.addr());
    assert_eq!(client.call(&["GET", "a"]), b"$2\r\n07\r\n");
    fake.set_answer(Answer::Transcript);
    assert_eq!(client.call(&["SELECT", "3"]), b"+OK\r\n");
    assert_eq!(client.call(&["GET", "b"]), b"$22\r\nGET a; SELECT 3; GET b\r\n");
    fake.set_answer(Answer::Connection);
    assert_eq!(RawClient::connect(fake.addr()).call(&["GET", "a"]), b"$1\r\n2\r\n");
    fake.set_answer(Answer::Bytes(b"half".to_vec()));
    client.send_command(&["GET", "a"]);
    client.expect(b"half");
    for answer in [Answer::Close, Answer::Reset] {
        fake.set_answer(answer);
        let mut client = RawClient::connect(fake.addr());
        client.send_command(&["GET", "a"]);
        assert_eq!(client.until_closed(), b"");
    }
}
