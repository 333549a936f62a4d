//! CLIENT REPLY: requests of a session that does not want their replies. It is the session's affair; no server hears of it.
//!
//! A request is taken as any other, and what it put among the replies is dropped, or will be when it comes: until then it
//! counts as outstanding, so that nothing overtakes it.

use super::Engine;
use super::request::{Request, Taken};
use crate::arena::Key;
use crate::local::Local;
use crate::mode::{Holding, Mute};
use crate::policy::Policy;
use crate::session::Protocol;

impl Engine {
    /// Takes the request of a session that does not want its reply; `None` if it does.
    pub(super) fn take_muted(&mut self, request: Request<'_>, policy: Policy) -> Option<Taken> {
        let session = self.sessions.get_mut(request.session)?;
        let mode = session.mode.as_deref_mut()?;
        let mute = mode.mute?;
        let subscribed = mode.subscriber.as_ref().is_some_and(|subscriber| subscriber.count() > 0);
        let refused = mode.transaction.is_some() || subscribed && request.protocol == Protocol::Resp2;
        match policy {
            // These end it, or speak of it.
            Policy::Local(Local::Reset) => return None,
            Policy::Local(Local::Client) if !refused && is_reply(&request) => return None,
            // What is said of subscriptions is said in any case, as by Redis.
            Policy::Holding(Holding::Subscribe(_)) if mode.transaction.is_none() => {
                mode.mute = (mute == Mute::All).then_some(mute);
                return None;
            }
            _ => mode.mute = None,
        }
        let (slots, output) = (session.outstanding(), session.output.len());
        if session.guarded
            && session.authenticated
            && let Some(standing) = &mut session.standing
        {
            standing.paid = true; // it was let in a moment ago, and is looked at anew
        }
        let taken = self.take_again(request);
        let mut left = Some(mute);
        if !matches!(taken, Taken::NotYet(_)) {
            left = (mute == Mute::All).then_some(mute);
            if let Some(session) = self.sessions.get_mut(request.session) {
                session.mute_since(&mut self.buffers, slots, output);
            }
        }
        if let Some(mode) = self.mode(request.session) {
            mode.mute = left;
        }
        self.tidy_mode(request.session);
        Some(taken)
    }

    /// Whether a refusal is for nobody.
    pub(super) fn swallows(&mut self, key: Key) -> bool {
        let Some(mode) = self.sessions.get_mut(key).and_then(|session| session.mode.as_deref_mut()) else {
            return false;
        };
        let swallows = mode.mute.is_some();
        mode.mute = (mode.mute == Some(Mute::All)).then_some(Mute::All);
        self.tidy_mode(key);
        swallows
    }
}

/// Whether it is a CLIENT REPLY that Redis knows; another one is an error, as unwanted as any.
fn is_reply(request: &Request<'_>) -> bool {
    let is = |word: usize, name: &str| request.word(word).eq_ignore_ascii_case(name.as_bytes());
    request.args.len() == 3 && is(1, "REPLY") && ["ON", "OFF", "SKIP"].iter().any(|name| is(2, name))
}
