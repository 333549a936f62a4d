//! Who may go on: the password, the user's rules, the limits. Off the way of a request that needs no look: one byte of its
//! session, [`guarded`](crate::session::Session::guarded), says so.

use shoal_resp::command::{Command, Flags, Keys};

use super::request::{Request, Taken};
use super::{Engine, Pool};
use crate::access::{Limit, Over};
use crate::arena::Key;
use crate::local;
use crate::mode::Holding;
use crate::policy::Policy;
use crate::session::Session;
use crate::settings::PoolSettings;
use crate::standing::Followed;
use crate::stats::PoolStats;
use crate::subscriber::Kind;

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
        let error = self.objects_to(request, command, policy)?;
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

    /// What is answered to a request that its user may not make, or not now; `None` if it may.
    pub(super) fn objects_to(
        &mut self,
        request: Request<'_>,
        command: &'static Command,
        policy: Policy,
    ) -> Option<String> {
        let settings = &self.pools[request.pool].settings;
        let session = self.sessions.get_mut(request.session)?;
        let standing = session.standing.as_deref_mut()?;
        let user = settings.access.user(standing.user);
        if let Some(denied) = user.denies(command, request.raw, request.args, &mut self.keys) {
            session.stats.denied.add(1);
            return Some(denied.to_string());
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
                let error = over.words(&settings.pool.name, &user.name);
                // Neither what was refused nor the refusal is charged later.
                standing.charged += (request.raw.len() + error.len() + 3) as u64;
                Some(error)
            }
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

    /// What passed through a session since it was last charged is charged: it ends.
    pub(super) fn charge_the_rest(&self, session: &Session) {
        if let Some(standing) = &session.standing
            && let Some(pool) = self.pools.get(session.pool)
        {
            let access = &pool.settings.access;
            let total = session.traffic.bytes_in + session.traffic.bytes_out;
            let rest = total.saturating_sub(standing.charged);
            access.charge_bytes(access.user(standing.user), self.now, rest);
        }
    }

    /// Sessions follow their users by name to another configuration.
    pub(super) fn carry_access(&mut self, before: &[Pool], successor: &[Option<usize>]) {
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let Some(old) = before.get(session.pool) else { continue };
            let Some(index) = successor.get(session.pool).copied().flatten() else { continue };
            let settings = self.pools[index].settings.clone();
            match session.follow_access(&old.settings.access, &settings.access) {
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
