//! Gathering in virtual time: sessions that ask, wait for the answer, think and ask again, and servers that take their time for
//! each batch and for each request in it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use shoal_hashkit::Random;

use super::*;

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    /// Requests a batch.
    company: f64,
    /// From a request to its answer, in microseconds, on average.
    latency: f64,
    /// The longest that a request waited to be sent while its server had nothing in hand, in microseconds.
    longest_wait: u64,
    /// Of all batches, those that waited and were joined by nobody.
    vain: f64,
}

#[derive(Clone, Copy)]
struct Setup {
    sessions: u32,
    servers: usize,
    /// Microseconds from an answer to the session's next request: between half of it and half as much again.
    think: u64,
    /// What a batch costs a server, its way there and back included, in microseconds.
    batch: u64,
    gather: bool,
}

/// A server, as the proxy sees it.
struct Server {
    gather: Gather,
    /// When and whose each request of the present batch, and of the one that is being answered, was.
    waiting: Vec<(u64, usize)>,
    flying: Vec<(u64, usize)>,
    answer_at: u64,
    idle_since: u64,
}

fn run(setup: &Setup, seed: u32) -> Outcome {
    let mut chance = Random::seeded(seed);
    let mut crowd = Crowd::default();
    let mut marks = vec![AnsweredIn::default(); setup.sessions as usize];
    let mut think = |now: u64| now + setup.think / 2 + u64::from(chance.next()) % setup.think.max(1);
    // When each session asks next.
    let mut asks: BTreeSet<(u64, usize)> = (0..marks.len()).map(|session| (think(0), session)).collect();
    let mut lot = Random::seeded(!seed);
    let mut servers: Vec<Server> = (0..setup.servers)
        .map(|_| Server {
            gather: Gather::default(),
            waiting: Vec::new(),
            flying: Vec::new(),
            answer_at: u64::MAX,
            idle_since: 0,
        })
        .collect();
    let (mut batches, mut requests, mut waited, mut longest_wait, mut vain) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let mut due = u64::MAX;
    while requests < 5_000 {
        let next = asks.first().map_or(u64::MAX, |&(at, _)| at);
        let answered = servers.iter().map(|server| server.answer_at).min().unwrap_or(u64::MAX);
        let now = next.min(answered).min(due);
        let time = Time::from_micros(now);
        crowd.turn(time);
        while let Some(&(at, session)) = asks.first()
            && at <= now
        {
            asks.pop_first();
            crowd.asks(&mut marks[session]);
            let server = &mut servers[lot.next() as usize % setup.servers];
            server.gather.arrived(time);
            server.waiting.push((now, session));
        }
        for server in servers.iter_mut().filter(|server| server.answer_at <= now) {
            (server.answer_at, server.idle_since) = (u64::MAX, now);
            for (queued, session) in server.flying.drain(..) {
                waited += now - queued;
                requests += 1;
                crowd.answered(&mut marks[session]);
                asks.insert((think(now), session));
            }
        }
        due = u64::MAX;
        for server in &mut servers {
            // A batch that waits for the answer before it does so in every setting: that is not what is tried here.
            let Some(&(first, _)) = server.waiting.first().filter(|_| server.answer_at == u64::MAX) else {
                continue;
            };
            match server.gather.decide(time, false, server.waiting.len() * 30, crowd.is_any()) {
                Err(until) if setup.gather => due = due.min(until.as_micros()),
                _ => {
                    longest_wait = longest_wait.max(now - first.max(server.idle_since));
                    let hoped_with = server.gather.hoped_with as usize;
                    vain += u64::from(hoped_with > 0 && hoped_with == server.waiting.len());
                    server.gather.sent();
                    batches += 1;
                    server.answer_at = now + setup.batch + server.waiting.len() as u64;
                    server.flying.append(&mut server.waiting);
                }
            }
        }
    }
    Outcome {
        company: requests as f64 / batches as f64,
        latency: waited as f64 / requests as f64,
        longest_wait,
        vain: vain as f64 / batches as f64,
    }
}

fn with_and_without(setup: Setup, seed: u32) -> (Outcome, Outcome) {
    (run(&setup, seed), run(&Setup { gather: false, ..setup }, seed))
}

proptest! {
    // What is asserted holds on average, so the same runs are made each time.
    #![proptest_config(ProptestConfig { cases: 100, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn a_lone_session_never_waits(think in 0u64..2_000, batch in 1u64..2_000, servers in 1usize..5, seed: u32) {
        let outcome = run(&Setup { sessions: 1, servers, think, batch, gather: true }, seed);
        prop_assert_eq!(outcome.longest_wait, 0);
    }

    #[test]
    fn nobody_waits_for_company_that_is_rare(sessions in 1u32..50, batch in 10u64..200, seed: u32) {
        // On average a request comes in twice the time that one would wait at most for two.
        let think = WAIT_MAX * u64::from(sessions);
        let setup = Setup { sessions, servers: 1, think, batch, gather: true };
        let (with, without) = with_and_without(setup, seed);
        prop_assert!(with.latency <= without.latency * 1.25 + 10.0, "{with:?} {without:?}");
    }

    #[test]
    fn a_wait_is_bounded_and_company_is_not_lost(
        sessions in 2u32..200, servers in 1usize..6, think in 1u64..2_000, batch in 10u64..500, seed: u32,
    ) {
        let setup = Setup { sessions, servers, think, batch, gather: true };
        let (with, without) = with_and_without(setup, seed);
        prop_assert!(with.longest_wait <= WAIT_MAX, "{with:?} {without:?}");
        prop_assert!(with.company >= without.company * 0.9, "{with:?} {without:?}");
        prop_assert!(with.vain <= 0.2, "{with:?} {without:?}");
    }

    #[test]
    fn sessions_that_have_all_asked_do_not_wait_for_each_other(sessions in 2u32..8, seed: u32) {
        // They ask again at once: company is there as soon as they have been answered, or it is not.
        let setup = Setup { sessions, servers: 4, think: 1, batch: 60, gather: true };
        let (with, without) = with_and_without(setup, seed);
        prop_assert!(with.latency <= without.latency * 1.5, "{with:?} {without:?}");
    }
}

#[test]
fn many_sessions_find_company() {
    let setup = Setup { sessions: 50, servers: 4, think: 400, batch: 50, gather: true };
    let (with, without) = with_and_without(setup, 7);
    assert!(with.company >= 2.0 * without.company, "{with:?} {without:?}");
    assert!(with.latency <= without.latency + WAIT_MAX as f64, "{with:?} {without:?}");
}

#[test]
fn a_server_that_has_little_to_do_is_not_waited_for() {
    // A thousand sessions ask once in 100 ms: 10,000 requests/s over four servers.
    let setup = Setup { sessions: 1_000, servers: 4, think: 100_000, batch: 50, gather: true };
    let (with, without) = with_and_without(setup, 7);
    assert!(with.latency <= 1.2 * without.latency, "{with:?} {without:?}");
}
