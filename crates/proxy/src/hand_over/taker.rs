//! The next process's side.

use super::{Decoder, Fault, Message, Offered, Who};

/// A hand-over as the next process sees it.
#[derive(Debug, Default)]
pub struct Taker {
    decoder: Decoder,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Offer,
    Sockets {
        from: Who,
        promised: usize,
        came: Vec<Offered>,
    },
    Yielded,
    Over,
}

/// What the running process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    /// It sent its sockets, in this order.
    Offered {
        /// Who it is.
        from: Who,
        /// What the sockets are.
        sockets: Vec<Offered>,
    },
    /// It accepts nobody any more.
    Yielded,
}

impl Taker {
    /// What is said first.
    pub fn ask(who: Who) -> Vec<u8> {
        Message::Ask(who).encode()
    }

    /// Takes what came, in pieces of any size.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.decoder.handle_bytes(bytes);
    }

    /// What the running process did, if that is known by now. `descriptors` is how many have come so far: with the last
    /// message of an offer they must be as many as it announced.
    ///
    /// # Errors
    /// What it said wrong, or why it refuses.
    pub fn poll(&mut self, descriptors: usize) -> Result<Option<Did>, Fault> {
        loop {
            if let Stage::Sockets { from, promised, came } = &mut self.stage
                && came.len() == *promised
            {
                if descriptors != *promised {
                    return Err(Fault::Sockets { promised: *promised, came: descriptors });
                }
                let did = Did::Offered {
                    from: Who { pid: from.pid, program: std::mem::take(&mut from.program) },
                    sockets: std::mem::take(came),
                };
                self.stage = Stage::Yielded;
                return Ok(Some(did));
            }
            let Some(message) = self.decoder.poll()? else { return Ok(None) };
            match (&mut self.stage, message) {
                (_, Message::Refused(why)) => return Err(Fault::Refused(why)),
                (Stage::Offer, Message::Offer { from, sockets }) => {
                    self.stage = Stage::Sockets { from, promised: sockets.into(), came: Vec::new() };
                }
                (Stage::Sockets { came, .. }, Message::Socket(socket)) => came.push(socket),
                (Stage::Yielded, Message::Yielded) => {
                    self.stage = Stage::Over;
                    return Ok(Some(Did::Yielded));
                }
                (_, other) => {
                    return Err(Fault::Unexpected {
                        came: other.name(),
                        waiting_for: self.stage.waiting_for(),
                    });
                }
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

    /// What says that this process accepts clients, and which sockets of the offer it keeps.
    pub fn ready(kept: Vec<u16>) -> Vec<u8> {
        Message::Ready { kept }.encode()
    }
}

impl Stage {
    fn waiting_for(&self) -> &'static str {
        match self {
            Stage::Offer => "`offer`",
            Stage::Sockets { .. } => "`socket`",
            Stage::Yielded => "`yielded`",
            Stage::Over => "nothing more",
        }
    }
}
