//! The running process's side.

use super::{Decoder, Fault, Message, Offered, Who};

/// A hand-over as the running process sees it, from the moment that somebody has connected.
#[derive(Debug, Default)]
pub struct Giver {
    decoder: Decoder,
    stage: Stage,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Ask,
    Ready {
        sockets: usize,
    },
    Over,
}

/// What the other side wants of the running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// The sockets: answer by [`Giver::offer`].
    Sockets(Who),
    /// That it stops accepting; the sockets at these places of the offer are the other's now.
    Yield(Vec<u16>),
}

impl Giver {
    /// Takes what came, in pieces of any size.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.decoder.handle_bytes(bytes);
    }

    /// What is wanted now.
    ///
    /// # Errors
    /// What the other side said wrong; it is told by [`Giver::refusal`], and the connection closed.
    pub fn poll(&mut self) -> Result<Option<Wants>, Fault> {
        let Some(message) = self.decoder.poll()? else { return Ok(None) };
        match (&self.stage, message) {
            (Stage::Ask, Message::Ask(who)) => Ok(Some(Wants::Sockets(who))),
            (Stage::Ready { sockets }, Message::Ready { kept }) => {
                if kept.last().is_some_and(|last| usize::from(*last) >= *sockets) {
                    return Err(Fault::Malformed("ready"));
                }
                self.stage = Stage::Over;
                Ok(Some(Wants::Yield(kept)))
            }
            (_, other) => {
                Err(Fault::Unexpected { came: other.name(), waiting_for: self.stage.waiting_for() })
            }
        }
    }

    /// The connection has ended.
    pub fn handle_end(&self) -> Fault {
        match self.decoder.is_between() {
            true => Fault::Closed { waiting_for: self.stage.waiting_for() },
            false => Fault::Truncated,
        }
    }

    /// The messages that offer `sockets`, the descriptor of each to be sent with its own: the first has none.
    pub fn offer(&mut self, from: Who, sockets: Vec<Offered>) -> Vec<Vec<u8>> {
        self.stage = Stage::Ready { sockets: sockets.len() };
        let offer = Message::Offer { from, sockets: sockets.len() as u16 };
        [offer].into_iter().chain(sockets.into_iter().map(Message::Socket)).map(|it| it.encode()).collect()
    }

    /// What says that nobody is accepted here any more.
    pub fn yielded() -> Vec<u8> {
        Message::Yielded.encode()
    }

    /// What tells the other side that nothing comes of it.
    pub fn refusal(why: &str) -> Vec<u8> {
        Message::Refused(why.to_owned()).encode()
    }
}

impl Stage {
    fn waiting_for(&self) -> &'static str {
        match self {
            Stage::Ask => "`ask`",
            Stage::Ready { .. } => "`ready`",
            Stage::Over => "nothing more",
        }
    }
}
