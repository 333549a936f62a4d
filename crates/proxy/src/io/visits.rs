//! Looking into the workers' engines from another thread: each worker runs what it is handed, between two requests.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Message};
use crate::engine::Engine;

/// How long whoever asks waits for all workers together.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What a worker is to do with its engine.
pub struct Visit(Box<dyn FnOnce(&mut Engine) + Send>);

impl Visit {
    /// Does it.
    pub fn pay(self, engine: &mut Engine) {
        (self.0)(engine);
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Visit(…)")
    }
}

/// What the workers answered.
#[derive(Debug)]
pub struct Answers<T> {
    /// The answers, each with the number of its worker.
    pub given: Vec<(usize, T)>,
    /// The workers that did not answer in time.
    pub silent: Vec<usize>,
}

/// The workers of a process.
#[derive(Clone, Debug)]
pub struct Workers(Arc<[Arc<Inbox>]>);

impl Workers {
    /// Those behind these letter boxes, in the order of their numbers.
    pub fn new(inboxes: &[Arc<Inbox>]) -> Workers {
        Workers(inboxes.into())
    }

    /// Has every worker answer `question`. One that does not within [`PATIENCE`] is named and not waited for: its answer, should
    /// it still come, goes nowhere.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Engine) -> T + Clone + Send + 'static,
    ) -> Answers<T> {
        let (sender, receiver) = channel();
        for (number, inbox) in self.0.iter().enumerate() {
            let (sender, question) = (sender.clone(), question.clone());
            let visit = Visit(Box::new(move |engine| {
                // Whoever asked may have lost patience.
                let _ = sender.send((number, question(engine)));
            }));
            // A full box is a worker that hangs: it will not answer in time.
            inbox.offer(Message::Visit(visit));
        }
        drop(sender);
        let deadline = Instant::now() + PATIENCE;
        let mut given = Vec::new();
        while given.len() < self.0.len()
            && let Ok(answer) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            given.push(answer);
        }
        given.sort_by_key(|(number, _)| *number);
        let silent = (0..self.0.len()).filter(|number| given.iter().all(|(known, _)| known != number));
        Answers { silent: silent.collect(), given }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_answer_is_named_and_not_waited_for() {
        let inboxes = [Arc::new(Inbox::new().unwrap()), Arc::new(Inbox::new().unwrap())];
        // Nobody takes messages out of either: dropping one's letter box drops its visit, and the other just lies there.
        let answers = Workers::new(&inboxes).ask(|engine| engine.session_count());
        assert_eq!((answers.given.len(), answers.silent), (0, vec![0, 1]));
    }
}
