//! Who may go on: the password, the user's rules, the limits. Off the way of a request that needs no look: one byte of its
//! session, [`guarded`](crate::session::Session::guarded), says so.

use shoal_resp::command::{Command, Flags, Keys};

use super::request::{Request, Taken};
use super::{Engine, Pool};
use crate::access::{Access, Limit, Over};
use crate::arena::Key;
use crate::local;
use crate::mode::Holding;
use crate::policy::Policy;
use crate::session::{Phase, Session};
use crate::settings::PoolSettings;
use crate::standing::Followed;
use crate::stats::PoolStats;
use crate::subscriber::Kind;
use crate::time::Time;

/// What an error has besides its words: the minus sign, and the end of its line.
pub(super) const ERROR_FRAME: usize = 3;

/// Why a request is not taken.
pub(super) struct Objection {
    /// What is answered.
    pub(super) error: String,
    /// Whether a limit is reached. Then neither the request nor the answer is ever charged.
    pub(super) is_over: bool,
}

impl Engine {
    /// Stops a request that its session may not make; `None` lets it go on.
    #[cold]
    #[inline(never)]
    pub(super) fn stop(&mut self, request: Request<'_>, command: &'static Command) -> Option<Taken> {
        // Looked up again, so that nothing is done for it where nobody is stopped.
        let policy = self.pools[request.pool].policies.of(command);
        let session = self.sessions.get(request.session)?;
        if !session.authenticated {
            if matches!(policy, Policy::Local(local) if local.before_auth()) {
                return None;
            }
            self.answer(request.session, local::no_auth(self.pools[request.pool].settings.dialect));
            return Some(Taken::Yes);
        }
        let Objection { error, is_over } = self.objects_to(request, command, policy)?;
        if is_over {
            self.forgive(request.session, request.raw.len() + error.len() + ERROR_FRAME);
        }
        if policy == Policy::Holding(Holding::Exec) {
            self.end_transaction(request.session);
            if !self.swallows(request.session) {
                let error = format!("EXECABORT Transaction discarded because of: {error}");
                self.answer_error(request.session, &error);
            }
            return Some(Taken::Yes);
        }
        Some(self.refuse(request, &error))
    }

    /// Why a request is not taken that its user may not make, or not now; `None` if it may.
    pub(super) fn objects_to(
        &mut self,
        request: Request<'_>,
        command: &'static Command,
        policy: Policy,
    ) -> Option<Objection> {
        let settings = &self.pools[request.pool].settings;
        let session = self.sessions.get_mut(request.session)?;
        let standing = session.standing.as_deref_mut()?;
        let user = settings.access.user(standing.user);
        if let Some(denied) = user.denies(command, request.raw, request.args, &mut self.keys) {
            session.stats.denied.add(1);
            return Some(Objection { error: denied.to_string(), is_over: false });
        }
        if std::mem::take(&mut standing.paid) || command.flags.contains(Flags::NO_AUTH) {
            return None;
        }
        let total = session.traffic.bytes_in + session.traffic.bytes_out;
        let charged = settings.access.charge(user, self.now, total.saturating_sub(standing.charged));
        match charged {
            Ok(()) => {
                standing.charged = standing.charged.max(total);
                None
            }
            // What ends something is never kept from doing so.
            Err(_) if ends_something(policy) => None,
            Err(over) => {
                count(&session.stats, over.limit);
                Some(Objection { error: over.words(&settings.pool.name, &user.name), is_over: true })
            }
        }
    }

    /// Has `bytes` of the session, which came or will be sent, never be charged.
    pub(super) fn forgive(&mut self, key: Key, bytes: usize) {
        if let Some(standing) = self.sessions.get_mut(key).and_then(|session| session.standing.as_deref_mut())
        {
            standing.charged += bytes as u64;
        }
    }

    /// Whether all that is to be known of a large request is in its first words: nothing that comes behind them is a key.
    pub(super) fn is_known_by_first_words(command: &Command, policy: Policy) -> bool {
        let one_key = matches!(command.keys, Keys::Range { first: 1, last: 1, .. });
        matches!(policy, Policy::Split(_)) || one_key && !command.flags.contains(Flags::MOVABLEKEYS)
    }

    /// The pool, or the user who needs no password, has too many connections: says so to this one, and ends it.
    pub(super) fn refuse_session(&mut self, key: Key, over: &Over) {
        let Some(session) = self.sessions.get(key) else { return };
        let settings = &self.pools[session.pool].settings;
        count(&session.stats, over.limit);
        let error = over.words(&settings.pool.name, &settings.access.user(0).name);
        self.end_with_error(key, &error);
        self.touch_session(key);
    }

    /// Charges `bytes` that are being sent to the client of `key` unasked, so that they are not all charged at once when it asks
    /// or leaves.
    pub(super) fn charge_unasked(&mut self, key: Key, bytes: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(standing) = session.standing.as_deref_mut() else { return };
        if session.phase != Phase::Open {
            return; // nobody is sent them
        }
        let Some(pool) = self.pools.get(session.pool) else { return };
        let access = &pool.settings.access;
        access.charge_bytes(access.user(standing.user), self.now, bytes as u64);
        standing.charged += bytes as u64;
    }

    /// Sessions, which have followed their pools, follow their users by name to another configuration.
    pub(super) fn carry_access(&mut self, before: &[Pool], predecessor: impl Fn(usize) -> Option<usize>) {
        let old = |now| predecessor(now).and_then(|old| before.get(old));
        let heirs: Vec<Vec<Option<u16>>> = self
            .pools
            .iter()
            .enumerate()
            .map(|(now, pool)| {
                old(now).map_or_else(Vec::new, |old| pool.settings.access.heirs(&old.settings.access))
            })
            .collect();
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let Some(now) = self.pools.get(session.pool) else { continue };
            let Some(old) = old(session.pool) else { continue };
            let heirs = heirs.get(session.pool).map_or(&[][..], Vec::as_slice);
            let settings = now.settings.clone();
            match session.follow_access(&old.settings.access, &settings.access, heirs) {
                Followed::Same => {}
                Followed::Gone => self.end_session(key),
                Followed::Changed => {
                    // What was queued was allowed by other rules.
                    self.fail_transaction(key);
                    self.cut_deaf_subscriber(key, &settings);
                }
            }
        }
    }

    /// Cuts a subscriber that has a channel which its user may not listen to any more, as Redis does.
    fn cut_deaf_subscriber(&mut self, key: Key, settings: &PoolSettings) {
        let Some(session) = self.sessions.get(key) else { return };
        let channels = &settings.access.user(session.user()).rules.channels;
        let subscriber = session.mode.as_ref().and_then(|mode| mode.subscriber.as_ref());
        let denied = subscriber.is_some_and(|subscriber| {
            let named =
                [Kind::Channel, Kind::ShardChannel].into_iter().flat_map(|kind| subscriber.names(kind));
            named.into_iter().any(|name| !channels.allow(&name))
                || subscriber.names(Kind::Pattern).iter().any(|name| !channels.allow_pattern(name))
        });
        if denied {
            self.cut_subscriber(key);
        }
    }
}

/// What passed through a session since it was last charged is charged, whatever the limits of `access` say: it ends, or others
/// are in force from now on.
pub(super) fn charge_the_rest(session: &mut Session, access: &Access, now: Time) {
    let Some(standing) = session.standing.as_deref_mut() else { return };
    let total = session.traffic.bytes_in + session.traffic.bytes_out;
    access.charge_bytes(access.user(standing.user), now, total.saturating_sub(standing.charged));
    standing.charged = standing.charged.max(total);
}

fn ends_something(policy: Policy) -> bool {
    match policy {
        Policy::Holding(Holding::Exec | Holding::Discard | Holding::Unwatch) => true,
        Policy::Holding(Holding::Subscribe(change)) => !change.adds,
        _ => false,
    }
}

fn count(stats: &PoolStats, limit: Limit) {
    match limit {
        Limit::MaxConnections => stats.over_max_connections.add(1),
        Limit::RequestsPerSecond => stats.over_requests_per_second.add(1),
        Limit::BytesPerSecond => stats.over_bytes_per_second.add(1),
    }
}
