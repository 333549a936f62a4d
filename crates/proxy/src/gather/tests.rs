//! Gathering in virtual time: sessions that ask, wait for the answer, think and ask again, and a server that takes its time
//! for each batch and for each request in it.

use std::collections::BTreeMap;

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
    /// The longest that a request waited to be sent while the server had nothing in hand, in microseconds.
    longest_wait: u64,
}

struct Setup {
    sessions: u32,
    /// Microseconds from an answer to the session's next request: between half of it and half as much again.
    think: u64,
    /// What a batch costs the server, its way there and back included, in microseconds.
    batch: u64,
    gather: bool,
}

fn run(setup: &Setup, seed: u32) -> Outcome {
    let mut chance = Random::seeded(seed);
    let mut think = |now: u64| now + setup.think / 2 + u64::from(chance.next()) % setup.think.max(1);
    // When each session asks next.
    let mut asks: BTreeMap<(u64, u32), ()> = (0..setup.sessions).map(|n| ((think(0), n), ())).collect();
    let mut gather = Gather::default();
    let mut waiting: Vec<(u64, u32)> = Vec::new();
    let mut flying: Vec<(u64, u32)> = Vec::new();
    let (mut answer_at, mut due) = (u64::MAX, u64::MAX);
    let (mut batches, mut requests, mut waited, mut longest_wait) = (0u64, 0u64, 0u64, 0u64);
    let mut idle_since = 0;
    while requests < 5_000 {
        let next = asks.keys().next().map_or(u64::MAX, |&(at, _)| at);
        let now = next.min(answer_at).min(due);
        let time = Time::from_micros(now);
        while let Some((&(at, session), ())) = asks.first_key_value()
            && at <= now
        {
            asks.pop_first();
            gather.arrived(time);
            waiting.push((now, session));
        }
        if answer_at <= now {
            (answer_at, idle_since) = (u64::MAX, now);
            for (queued, session) in flying.drain(..) {
                gather.answered(now - queued);
                waited += now - queued;
                requests += 1;
                asks.insert((think(now), session), ());
            }
        }
        due = u64::MAX;
        // A batch that waits for the answer before it does so in every setting: that is not what is tried here.
        if waiting.is_empty() || answer_at != u64::MAX {
            continue;
        }
        match gather.decide(time, false, waiting.len() * 30) {
            Err(until) if setup.gather => due = until.as_micros(),
            _ => {
                longest_wait = longest_wait.max(now - waiting[0].0.max(idle_since));
                gather.sent(time);
                batches += 1;
                answer_at = now + setup.batch + waiting.len() as u64;
                flying.append(&mut waiting);
            }
        }
    }
    Outcome {
        company: requests as f64 / batches as f64,
        latency: waited as f64 / requests as f64,
        longest_wait,
    }
}

proptest! {
    // What is asserted holds on average, so the same runs are made each time.
    #![proptest_config(ProptestConfig { cases: 100, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn a_lone_session_never_waits(think in 0u64..2_000, batch in 1u64..2_000, seed: u32) {
        let outcome = run(&Setup { sessions: 1, think, batch, gather: true }, seed);
        prop_assert_eq!(outcome.longest_wait, 0);
    }

    #[test]
    fn nobody_waits_for_company_that_is_rare(sessions in 1u32..50, batch in 10u64..200, seed: u32) {
        // Each session thinks so long that a request comes but once in ten answers' time.
        let think = batch * 10 * u64::from(sessions);
        let outcome = run(&Setup { sessions, think, batch, gather: true }, seed);
        let without = run(&Setup { sessions, think, batch, gather: false }, seed);
        prop_assert!(outcome.latency <= without.latency * 1.1, "{outcome:?} {without:?}");
    }

    #[test]
    fn a_wait_is_bounded_by_what_an_answer_takes(
        sessions in 2u32..200, think in 1u64..2_000, batch in 10u64..500, seed: u32,
    ) {
        let outcome = run(&Setup { sessions, think, batch, gather: true }, seed);
        let without = run(&Setup { sessions, think, batch, gather: false }, seed);
        prop_assert!(outcome.latency <= without.latency * 6.0, "{outcome:?} {without:?}");
        prop_assert!(outcome.company >= without.company * 0.95, "{outcome:?} {without:?}");
    }
}

#[test]
fn many_sessions_find_company() {
    let setup = |gather| Setup { sessions: 50, think: 500, batch: 20, gather };
    let (with, without) = (run(&setup(true), 7), run(&setup(false), 7));
    assert!(with.company >= 2.0 * without.company, "{with:?} {without:?}");
    assert!(with.latency <= 2.0 * without.latency, "{with:?} {without:?}");
}
