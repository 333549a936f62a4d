//! Sessions that leave because the process ends.

use super::super::drain::Leave;
use super::*;

const SECOND: u64 = 1_000_000;

fn leave(spread: u64, grace: u64) -> Leave {
    Leave { spread: Duration::from_micros(spread), grace: Duration::from_micros(grace) }
}

/// Parts all that the engine asks for, as a worker whose clients sent nothing; how many.
fn part_all(engine: &mut Engine) -> usize {
    let mut parted = 0;
    while let Some(action) = engine.poll_action() {
        if let Action::Part(key) = action {
            engine.handle_session_end(key, SessionEnd::Parted);
            parted += 1;
        }
    }
    parted
}

/// Turns the clock to `micros` in steps that the engine asks for, and parts whom it lets go; how many.
fn run_to(engine: &mut Engine, now: &mut u64, micros: u64) -> usize {
    let mut parted = 0;
    while *now < micros {
        *now = engine.poll_timeout().as_micros().clamp(*now + 1, micros);
        engine.begin_round(Time::from_micros(*now), *now);
        engine.handle_timeout();
        parted += part_all(engine);
    }
    parted
}

fn patient() -> PoolSettings {
    PoolSettings { timeout: None, server_connections: 1, gather: false, ..settings(Dialect::Shoal) }
}

#[test]
fn idle_sessions_leave_one_after_the_other_over_the_spread() {
    let (mut engine, _) = engine(patient());
    for _ in 1..10 {
        engine.open_session(0, "model".into());
    }
    let mut now = 1;
    engine.begin_round(Time::from_micros(now), now);
    engine.leave(leave(10 * SECOND, SECOND));
    let mut gone = part_all(&mut engine);
    assert_eq!(gone, 1, "the first leaves at once");
    for second in 1..10 {
        gone += run_to(&mut engine, &mut now, second * SECOND + 100_000);
        assert_eq!(gone as u64, (second + 1).min(10), "after {second} s");
    }
    assert!(engine.has_left() && engine.cut_count() == 0);
}

#[test]
fn with_no_spread_all_that_are_quiet_leave_at_once_and_the_others_behind_their_replies() {
    let (mut engine, busy) = engine(patient());
    let idle = engine.open_session(0, "model".into());
    engine.begin_round(Time::from_micros(1), 1);
    engine.handle_session_bytes(busy, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("no connection") };
    engine.handle_upstream_connected(upstream);
    let sent = engine.poll_upstream().map(|key| engine.upstream_output(key).len()).unwrap();
    engine.handle_upstream_sent(upstream, sent);
    engine.leave(leave(0, SECOND));
    assert_eq!(engine.poll_action(), Some(Action::Part(idle)));
    engine.handle_session_end(idle, SessionEnd::Parted);
    assert_eq!(engine.poll_action(), Some(Action::End(idle)));
    assert_eq!(engine.poll_action(), None);
    engine.handle_upstream_bytes(upstream, b"$1\r\n");
    engine.handle_upstream_bytes(upstream, b"x\r\n");
    assert_eq!(engine.poll_action(), None, "before the reply was sent");
    assert_eq!(drained(&mut engine, busy), "$1\r\nx\r\n");
    assert_eq!(engine.poll_action(), Some(Action::Part(busy)));
    // There was something to read: it is served, and asked to leave again behind its reply.
    engine.handle_session_bytes(busy, b"PING\r\n");
    assert_eq!(drained(&mut engine, busy), "+PONG\r\n");
    assert_eq!(part_all(&mut engine), 1);
    assert!(engine.has_left());
}

#[test]
fn half_a_request_is_waited_for_until_the_last_call_and_a_server_for_ever() {
    let (mut engine, waits) = engine(patient());
    let half = engine.open_session(0, "model".into());
    let whole = engine.open_session(0, "model".into());
    let mut now = 1;
    engine.begin_round(Time::from_micros(now), now);
    engine.handle_session_bytes(waits, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("no connection") };
    engine.handle_upstream_connected(upstream);
    cases::sent(&mut engine);
    engine.handle_session_bytes(half, b"*2\r\n$3\r\nGET");
    engine.handle_session_bytes(whole, b"*1\r\n$4\r\nPI");
    engine.leave(leave(SECOND, SECOND));
    assert_eq!(run_to(&mut engine, &mut now, 2 * SECOND - 100_000), 0);
    engine.handle_session_bytes(whole, b"NG\r\n");
    assert_eq!(drained(&mut engine, whole), "+PONG\r\n");
    assert_eq!(part_all(&mut engine), 1);
    assert_eq!((engine.session_count(), engine.cut_count()), (2, 0));
    run_to(&mut engine, &mut now, 2 * SECOND + 200_000);
    assert_eq!(
        (engine.session_count(), engine.cut_count()),
        (1, 1),
        "half a request is cut at the last call"
    );
    run_to(&mut engine, &mut now, 3600 * SECOND);
    assert!(!engine.has_left(), "a server owes a reply");
    engine.handle_upstream_bytes(upstream, b"$-1\r\n");
    assert_eq!(drained(&mut engine, waits), "$-1\r\n");
    assert!(engine.has_left());
}

#[test]
fn a_client_that_does_not_read_is_cut_at_the_last_call() {
    let (mut engine, key) = engine(patient());
    let mut now = 1;
    engine.begin_round(Time::from_micros(now), now);
    engine.handle_session_bytes(key, b"PING\r\n");
    engine.leave(leave(0, SECOND));
    run_to(&mut engine, &mut now, 2 * SECOND - 100_000);
    assert_eq!((engine.session_count(), engine.cut_count()), (1, 0), "it has a second to read");
    run_to(&mut engine, &mut now, 2 * SECOND + 200_000);
    assert_eq!((engine.has_left(), engine.cut_count()), (true, 1));
}

#[test]
fn half_a_large_request_is_cut_at_the_last_call_and_its_server_does_not_wait_for_it() {
    let (mut engine, key) = engine(patient());
    let mut now = 1;
    engine.begin_round(Time::from_micros(now), now);
    let begin = [&b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n"[..], &[b'x'; 100_000]].concat();
    engine.handle_session_bytes(key, &begin);
    let Some(Action::Connect(upstream)) = engine.poll_action() else { panic!("no connection") };
    engine.handle_upstream_connected(upstream);
    engine.leave(leave(0, SECOND));
    assert_eq!(run_to(&mut engine, &mut now, SECOND - 1), 0);
    assert_eq!(engine.session_count(), 1);
    now += 100_000;
    engine.begin_round(Time::from_micros(now), now);
    engine.handle_timeout();
    let actions: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
    assert!(actions.contains(&Action::Disconnect(upstream)) && actions.contains(&Action::End(key)));
    assert_eq!((engine.has_left(), engine.cut_count()), (true, 1));
}

#[test]
fn whoever_leaves_has_every_reply_whatever_the_pieces() {
    for seed in seeds(100) {
        let mut world = World::new(seed, 5, false, patient());
        let spread = 1 + world.pick(20_000) as u64;
        let begin = 20 + world.pick(60);
        for round in 0.. {
            assert!(round < 20_000, "seed {seed}: {} have not left", world.engine.session_count());
            if round == begin {
                world.engine.leave(leave(spread, 3600 * SECOND));
            }
            for index in 0..world.clients.len() {
                if round < begin + 100 && !world.clients[index].closed && world.pick(4) == 0 {
                    world.ask(index);
                }
            }
            world.step();
            if world.engine.has_left() {
                break;
            }
        }
        for client in &world.clients {
            assert!(client.closed && client.expected.is_empty() && client.to_send.is_empty(), "seed {seed}");
        }
        assert_eq!((world.engine.outstanding(), world.engine.cut_count()), ((0, 0), 0), "seed {seed}");
    }
}

#[test]
fn half_a_large_request_of_a_client_that_is_not_heard_any_more_is_cut_at_the_last_call() {
    let (mut engine, key, own) = pubsub::uploading_subscriber(transaction::tagged());
    let message = b">3\r\n$7\r\nmessage\r\n$4\r\n{a}1\r\n$1\r\nx\r\n";
    engine.handle_upstream_bytes(own, message);
    engine.handle_upstream_failed(own, &Failure::Closed);
    assert_eq!(engine.session_count(), 1, "it has not read the message yet");
    engine.leave(leave(0, 0));
    engine.begin_round(Time::from_micros(SECOND), SECOND);
    engine.handle_timeout();
    assert_eq!((engine.has_left(), engine.outstanding(), engine.cut_count()), (true, (0, 0), 1));
    assert!(std::iter::from_fn(|| engine.poll_action()).any(|action| action == Action::End(key)));
}
