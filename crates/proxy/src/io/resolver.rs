//! Looks names up off the event loops, since the system's resolver blocks.

use std::net::ToSocketAddrs as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::inbox::{Inbox, Message};
use crate::arena::Key;

/// Look-ups that may be under way at once; one slow name then does not delay all others.
const THREADS: usize = 4;

/// A handle to the resolver's threads, which end with the last handle.
#[derive(Clone, Debug)]
pub struct Resolver(Sender<Question>);

#[derive(Debug)]
struct Question {
    asker: Arc<Inbox>,
    attempt: Key,
    host: String,
    port: u16,
}

impl Resolver {
    /// Starts the threads.
    pub fn start() -> std::io::Result<Resolver> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..THREADS {
            let receiver = receiver.clone();
            thread::Builder::new().name(format!("resolver-{number}")).spawn(move || answer(&receiver))?;
        }
        Ok(Resolver(sender))
    }

    /// Looks `host` up; the answer comes to the inbox of `asker`.
    pub fn ask(&self, asker: Arc<Inbox>, attempt: Key, host: &str, port: u16) {
        let question = Question { asker, attempt, host: host.to_owned(), port };
        if let Err(unasked) = self.0.send(question) {
            unasked.0.asker.post(Message::Resolved { attempt, addresses: Vec::new() });
        }
    }
}

fn answer(questions: &Mutex<Receiver<Question>>) {
    loop {
        let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Question { asker, attempt, host, port }) = question else { return };
        let addresses = match (host.as_str(), port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                super::log::warning(&format!("cannot resolve {host}: {error}"));
                Vec::new()
            }
        };
        asker.post(Message::Resolved { attempt, addresses });
    }
}
