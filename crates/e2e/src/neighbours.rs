//! Clients that go on asking while something happens to others, and must not notice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::sharded::{ask, value};
use crate::{RawClient, escape, wait};

/// Running clients; each asks for all its keys in a pipeline, again and again, and each reply must be the key's value.
#[derive(Debug)]
pub struct Neighbours {
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    rounds: Vec<AtomicUsize>,
    wrong: Mutex<Option<String>>,
}

impl Neighbours {
    /// Starts one of each of these clients. The keys must hold the values that [`value`] tells.
    #[must_use]
    pub fn start(clients: Vec<RawClient>, keys: &[String]) -> Self {
        assert!(!clients.is_empty() && !keys.is_empty(), "nobody asks for nothing");
        let rounds = clients.iter().map(|_| AtomicUsize::new(0)).collect();
        let seen = Arc::new(Seen { rounds, ..Seen::default() });
        let start = |(number, mut client): (usize, RawClient)| {
            let (seen, keys) = (Arc::clone(&seen), keys.to_vec());
            thread::spawn(move || {
                while !seen.stop.load(SeqCst) {
                    if let Err(what) = round(&mut client, &keys) {
                        let mut wrong = seen.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                        wrong.get_or_insert(format!("neighbour {number}: {what}"));
                        return;
                    }
                    seen.rounds[number].fetch_add(1, SeqCst);
                }
            })
        };
        let threads = clients.into_iter().enumerate().map(start).collect();
        Self { seen, threads }
    }

    /// Waits until each has asked for everything this many times more, all of it begun from now on.
    ///
    /// # Panics
    /// When they do not get on, or a reply was wrong.
    #[track_caller]
    pub fn rounds(&self, more: usize) {
        for rounds in &self.seen.rounds {
            let until = rounds.load(SeqCst) + more + 1;
            wait::until("the neighbours get on", || {
                (rounds.load(SeqCst) >= until || self.wrong().is_some()).then_some(())
            });
        }
        assert_eq!(self.wrong(), None);
    }

    /// Ends them.
    ///
    /// # Panics
    /// When a reply was wrong, or did not come.
    #[track_caller]
    pub fn end(mut self) {
        self.stop();
        assert_eq!(self.wrong(), None);
    }

    fn wrong(&self) -> Option<String> {
        self.seen.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stop(&mut self) {
        self.seen.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            // Threads say what they saw, and do not panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop();
    }
}

fn round(client: &mut RawClient, keys: &[String]) -> Result<(), String> {
    ask(client, keys);
    for key in keys {
        match client.reply() {
            Ok(reply) if reply == value(key) => {}
            Ok(reply) => return Err(format!("{key} is {}", escape::show(&reply))),
            Err((end, got)) => return Err(format!("{key}: {end:?} after {}", escape::show(&got))),
        }
    }
    Ok(())
}
