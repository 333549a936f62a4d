//! Who could ask next: the sessions of a pool that have been answered a moment ago and have not asked again.

use std::time::Duration;

use crate::time::Time;

/// How long a session counts as being about, once it is answered: between one and two of these.
const TURN: Duration = Duration::from_millis(1);

/// In which turn a session was answered last, if it has nothing outstanding.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnsweredIn(u64);

/// How many sessions are about that have nothing outstanding. Each has its mark, so one that asks is not counted any more, and
/// one that never does is forgotten with the turn.
#[derive(Debug)]
pub struct Crowd {
    /// The present turn; 0 is none.
    turn: u64,
    /// When it ends.
    until: Time,
    /// Those who were answered in it, and in the turn before.
    answered: [u32; 2],
}

impl Default for Crowd {
    fn default() -> Self {
        Crowd { turn: 2, until: Time::default(), answered: [0, 0] }
    }
}

impl Crowd {
    /// A session that has nothing outstanding asks.
    #[inline]
    pub fn asks(&mut self, mark: &mut AnsweredIn) {
        let age = self.turn - mark.0;
        if let Some(answered) = self.answered.get_mut(age as usize) {
            *answered -= 1;
        }
        *mark = AnsweredIn::default();
    }

    /// A session is answered, and has nothing outstanding.
    #[inline]
    pub fn answered(&mut self, mark: &mut AnsweredIn) {
        self.answered[0] += 1;
        *mark = AnsweredIn(self.turn);
    }

    /// Begins another turn, if this one is over.
    #[inline]
    pub fn turn(&mut self, now: Time) {
        if now >= self.until {
            self.answered = [0, self.answered[0]];
            self.turn += 1;
            self.until = now + TURN;
        }
    }

    /// Whether anybody is about.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.answered != [0, 0]
    }
}
