//! What a session is to a pool with users or limits: which user, and where it is counted.
//!
//! A session of a pool without them has no [`Standing`], and pays nothing. When one ends, it is counted no more.

use std::sync::Arc;

use shoal_telemetry::CacheLine;

use crate::access::{Access, Limit, Meter, Over};
use crate::session::Session;

/// A session's place in a guarded pool.
#[derive(Debug, Default)]
pub struct Standing {
    /// The user, by its index in the pool's [`Access`]; the default one as long as nobody has entered.
    pub user: u16,
    /// Where it counts as a connection of the pool, and of its user.
    pool: Option<Arc<CacheLine<Meter>>>,
    own: Option<Arc<CacheLine<Meter>>>,
    /// How many of the session's bytes, in and out, were charged or forgiven.
    pub charged: u64,
    /// The next request was charged already: it came, and had to wait.
    pub paid: bool,
}

impl Drop for Standing {
    fn drop(&mut self) {
        for meter in [&self.pool, &self.own].into_iter().flatten() {
            meter.leave();
        }
    }
}

/// What a reload means for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Nothing.
    Same,
    /// Its user may do other things than before.
    Changed,
    /// Its user is not there any more, or is off.
    Gone,
}

impl Session {
    /// The session's user, by its index.
    pub fn user(&self) -> u16 {
        self.standing.as_ref().map_or(0, |standing| standing.user)
    }

    /// The session has just been opened.
    ///
    /// # Errors
    /// The pool, or the user who needs no password, has too many.
    pub fn arrive(&mut self, access: &Access) -> Result<(), Over> {
        self.guarded = !self.authenticated;
        if !access.is_guarded() {
            return Ok(());
        }
        let mut standing = Box::<Standing>::default();
        access.meter().enter(&access.limits).map_err(|value| too_many(value, false))?;
        standing.pool = Some(access.meter().clone());
        self.standing = Some(standing);
        match self.authenticated {
            true => self.enter(access, 0),
            false => Ok(()),
        }
    }

    /// The session gave the password of the user number `user`, or needs none.
    ///
    /// # Errors
    /// That user has too many connections; it stays who it was.
    pub fn enter(&mut self, access: &Access, user: u16) -> Result<(), Over> {
        if let Some(standing) = &mut self.standing {
            let entered = access.user(user);
            let is_counted = standing.own.as_ref().is_some_and(|own| Arc::ptr_eq(own, entered.meter()));
            if !is_counted {
                entered.meter().enter(&entered.limits).map_err(|value| too_many(value, true))?;
                standing.count_as(Some(entered.meter()));
            }
            standing.user = user;
        }
        self.authenticated = true;
        self.look_at_guard(access);
        Ok(())
    }

    /// The session is nobody again, or the default user if that one needs no password.
    ///
    /// # Errors
    /// The default user has too many connections.
    pub fn leave_user(&mut self, access: &Access) -> Result<(), Over> {
        if let Some(standing) = &mut self.standing {
            standing.count_as(None);
            standing.user = 0;
        }
        self.authenticated = false;
        self.guarded = true;
        if access.is_open() { self.enter(access, 0) } else { Ok(()) }
    }

    /// The pool's configuration was `before`, and is `now`; `heirs` are [`Access::heirs`] of the two.
    pub fn follow_access(&mut self, before: &Access, now: &Access, heirs: &[Option<u16>]) -> Followed {
        let was = before.user(self.user());
        let user = match self.authenticated {
            true => heirs.get(usize::from(self.user())).copied().flatten(),
            false => now.is_open().then_some(0),
        };
        if self.authenticated && user.is_none() {
            return Followed::Gone;
        }
        let changed = user.is_some_and(|user| !now.user(user).may_the_same(was));
        self.authenticated = user.is_some();
        if now.is_guarded() {
            let bytes = self.traffic.bytes_in + self.traffic.bytes_out;
            let standing = self.standing.get_or_insert_with(|| {
                let mut standing = Box::<Standing>::default();
                standing.charged = bytes;
                standing
            });
            if standing.pool.is_none() {
                // It was there before there was a limit: it stays, and is counted.
                now.meter().count();
                standing.pool = Some(now.meter().clone());
            }
            standing.user = user.unwrap_or(0);
            let own = user.map(|user| now.user(user).meter());
            if !standing.own.as_ref().zip(own).is_some_and(|(own, now)| Arc::ptr_eq(own, now)) {
                own.into_iter().for_each(|own| own.count());
                standing.count_as(own);
            }
        } else {
            self.standing = None;
        }
        self.look_at_guard(now);
        if changed { Followed::Changed } else { Followed::Same }
    }

    /// Works out whether requests must be looked at.
    fn look_at_guard(&mut self, access: &Access) {
        let user = access.user(self.user());
        let is_watched = self.standing.is_some() && (user.is_restricted() || access.limits_rates(user));
        self.guarded = !self.authenticated || is_watched;
    }
}

impl Standing {
    /// Counts as a connection of that user from now on, who has counted it already.
    fn count_as(&mut self, meter: Option<&Arc<CacheLine<Meter>>>) {
        if let Some(before) = std::mem::replace(&mut self.own, meter.cloned()) {
            before.leave();
        }
    }
}

fn too_many(value: u64, of_user: bool) -> Over {
    Over { limit: Limit::MaxConnections, value, of_user, wait: std::time::Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Limits, Rules, User};

    fn session(access: &Access) -> Session {
        Session::new(0, Default::default(), 1, 0, "test".into(), access.is_open())
    }

    fn guarded(default: &str, app: &str, most: u64) -> Access {
        let user = |name, rules| {
            let limits = Limits { max_connections: Some(most), ..Limits::default() };
            User::new(name, Rules::parse(rules).unwrap(), limits)
        };
        Access::of_users(user("default", default), vec![user("app", app)], Limits::default())
    }

    #[test]
    fn who_may_do_everything_is_not_looked_at() {
        let mut free = session(&Access::open());
        free.arrive(&Access::open()).unwrap();
        assert!(!free.guarded && free.standing.is_none());
        let access = guarded("on nopass ~* &* +@all", "on nopass +get", 9);
        let mut one = session(&access);
        one.arrive(&access).unwrap();
        assert!(!one.guarded);
        one.enter(&access, 1).unwrap();
        assert!(one.guarded);
        one.leave_user(&access).unwrap();
        assert!(!one.guarded && one.user() == 0);
    }

    #[test]
    fn connections_are_counted_by_user_as_long_as_they_last() {
        let access = guarded("off", "on nopass +get", 2);
        let mut sessions: Vec<Session> = (0..3).map(|_| session(&access)).collect();
        for session in &mut sessions {
            session.arrive(&access).unwrap();
            assert!(session.guarded && !session.authenticated);
        }
        assert!(sessions[0].enter(&access, 1).is_ok() && sessions[1].enter(&access, 1).is_ok());
        assert!(sessions[0].enter(&access, 1).is_ok(), "it is counted already");
        assert_eq!(sessions[2].enter(&access, 1).unwrap_err().value, 2);
        assert!(!sessions[2].authenticated);
        sessions.remove(0);
        assert!(sessions[1].enter(&access, 1).is_ok());
        assert_eq!((access.meter().connections(), access.user(1).meter().connections()), (2, 2));
        sessions.clear();
        assert_eq!((access.meter().connections(), access.user(1).meter().connections()), (0, 0));
    }

    #[test]
    fn a_reload_counts_who_is_there_and_ends_who_may_not_be() {
        let open = Access::open();
        let mut one = session(&open);
        one.arrive(&open).unwrap();
        let mut next = guarded("on nopass ~* &* +@all", "on nopass +get", 1);
        next.follow(&open);
        assert_eq!(one.follow_access(&open, &next, &next.heirs(&open)), Followed::Same);
        assert_eq!((next.meter().connections(), next.user(0).meter().connections()), (1, 1));
        one.enter(&next, 1).unwrap();
        assert_eq!((next.user(0).meter().connections(), next.user(1).meter().connections()), (0, 1));
        let mut other = guarded("on nopass ~* &* +@all", "on nopass +set", 1);
        other.follow(&next);
        assert_eq!(one.follow_access(&next, &other, &other.heirs(&next)), Followed::Changed);
        assert_eq!(other.user(1).meter().connections(), 1);
        let mut without = guarded("on nopass ~* &* +@all", "off", 1);
        without.follow(&other);
        assert_eq!(one.follow_access(&other, &without, &without.heirs(&other)), Followed::Gone);
        drop(one);
        assert_eq!((without.meter().connections(), without.user(1).meter().connections()), (0, 0));
    }
}
