//! The main loop: accepts, reloads, obeys signals, takes over and is taken over.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::admin::Port;
use super::hand_over::{Arrival, Call, Door};
use super::inbox::Message;
use super::listener::{places, spare_descriptor, wait_ready};
use super::log;
use super::orders::{Order, Received};
use super::pid_file::PidFile;
use super::process::{Reread, Serving, Stopped, system};
use super::reports::Reports;
use super::signals::{Asked, Signals};
use super::stats_port::StatsPort;
use crate::engine::drain::Leave;
use crate::error::Error;
use crate::hand_over::{Offered, Use};
use crate::succession::{DRAIN_GRACE, Succession};

/// How long the main loop sleeps at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same while primaries are awaited.
const AWAITING_LOOK_EVERY: Duration = Duration::from_millis(50);

/// The ports of the process's own.
#[derive(Debug, Default)]
pub struct Ports {
    /// Their listening sockets and where they listen, to be handed over; the admin port's first.
    pub offered: Vec<(Use, String, OwnedFd)>,
    /// Statistics, served until it is dropped.
    pub stats: Option<StatsPort>,
    /// The admin port, served until it is dropped.
    pub admin: Option<Port>,
}

/// All that the main loop has in its hands.
pub struct Running {
    pub(super) serving: Serving,
    pub(super) signals: Signals,
    pub(super) received: Received,
    pub(super) reports: Reports,
    pub(super) reread: Reread,
    pub(super) ports: Ports,
    pub(super) door: Option<Door>,
    /// The process whose place this one takes, and the sockets of its offer that are kept until it is told.
    pub(super) arrival: Option<(Arrival, Option<Vec<u16>>)>,
    pub(super) pid_file: Option<PidFile>,
    pub(super) succession: Succession,
    pub(super) leaving: Option<Leaving>,
    /// Until when clients wait, at most, for sentinels to say where the primaries are.
    pub(super) awaits_primaries_until: Option<Instant>,
}

/// Nobody is accepted any more.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    stopped: Stopped,
    /// When the process ends, whoever is still there.
    end_at: Option<Instant>,
}

impl Running {
    /// Runs until the process is to end. Calls `ready` when this process, and no other, accepts.
    pub fn run(mut self, ready: impl FnOnce()) -> Result<Stopped, Error> {
        let mut ready = Some(ready);
        let mut reserve = spare_descriptor();
        let stopped = loop {
            let awaits = self.awaits_primaries();
            let readable = self.wait(awaits)?;
            for (listener, _) in
                self.serving.listeners.iter().zip(&readable).filter(|(_, readable)| **readable && !awaits)
            {
                listener.accept(&self.serving.inboxes, self.serving.sessions_max(), &mut reserve);
            }
            if !awaits
                && self.arrive()?
                && let Some(ready) = ready.take()
            {
                ready();
            }
            if let Some(stopped) = self.obey() {
                break stopped;
            }
            self.answer_orders();
            if self.arrival.is_none() {
                self.answer_door();
            }
            let ended = self.reports.ended().map_err(|error| system("wait for events")(error.into()))?;
            if let Some(leaving) = self.leaving {
                if ended == self.serving.inboxes.len() {
                    log::notice("all sessions have left");
                    break leaving.stopped;
                }
                if leaving.end_at.is_some_and(|end| Instant::now() >= end) {
                    log::warning("the time to leave is over: the sessions that are left are cut");
                    break leaving.stopped;
                }
            }
        };
        // Whoever waits for an order to be answered is told now that nobody will.
        drop(self.received);
        self.serving.stop();
        drop(self.pid_file);
        Ok(stopped)
    }

    /// Whether nobody is accepted yet because sentinels have not said where the primaries are.
    fn awaits_primaries(&mut self) -> bool {
        let Some(until) = self.awaits_primaries_until else { return false };
        let awaits = Instant::now() < until && !self.serving.pools.iter().all(|pool| pool.primaries_known());
        if !awaits {
            self.awaits_primaries_until = None;
        }
        awaits
    }

    /// Sleeps until something happens; which listeners have somebody waiting. They are not looked at while primaries are
    /// awaited.
    fn wait(&self, awaits: bool) -> Result<Vec<bool>, Error> {
        let accepting = if awaits { &[] } else { &self.serving.listeners[..] };
        let listeners = accepting.iter().map(|listener| (listener.socket(), false));
        let door = self.door.iter().filter(|_| self.arrival.is_none()).flat_map(Door::sockets);
        // Not heard while primaries are awaited: its end would be readable all the time.
        let arrival = self.arrival.iter().filter(|_| !awaits).map(|(arrival, _)| (arrival.stream(), false));
        let bells =
            [self.signals.bell(), self.received.bell(), self.reports.bell()].map(|bell| (bell, false));
        let sockets: Vec<(&OwnedFd, bool)> = listeners.chain(door).chain(arrival).chain(bells).collect();
        let ends_in = self.leaving.and_then(|leaving| leaving.end_at);
        let timeout = match (&self.arrival, ends_in) {
            // The first look is for clients alone: they are accepted here before the other process is told.
            (Some((_, Some(_))), _) if !awaits => Duration::ZERO,
            (_, Some(end)) => end.saturating_duration_since(Instant::now()).min(LOOK_EVERY),
            (_, None) if awaits => AWAITING_LOOK_EVERY,
            (_, None) => LOOK_EVERY,
        };
        wait_ready(&sockets, timeout).map_err(|error| system("wait for clients")(error.into()))
    }

    /// Goes on with taking over; whether this process is the only one that accepts.
    fn arrive(&mut self) -> Result<bool, Error> {
        let Some((arrival, kept)) = &mut self.arrival else { return Ok(true) };
        if let Some(kept) = kept.take() {
            arrival.ready(kept);
        }
        if !arrival.poll()? {
            return Ok(false);
        }
        log::notice(&format!("process {} accepts no more: taken over", arrival.predecessor().pid));
        self.arrival = None;
        let Serving { listeners, pools, .. } = &mut self.serving;
        for (listener, place) in listeners.iter_mut().zip(places(pools)) {
            if let Err(error) = listener.own(place) {
                log::error(&format!("cannot listen on {} again: {error}", place.listen));
            }
        }
        if let Some(door) = &mut self.door {
            door.own();
        }
        if let Some(admin) = &mut self.ports.admin {
            admin.own();
        }
        Ok(true)
    }

    /// Does what signals ask for; why to stop, if that is it.
    fn obey(&mut self) -> Option<Stopped> {
        for asked in self.signals.asked() {
            match asked {
                Asked::Interrupt => return Some(Stopped::Interrupted),
                Asked::Terminate if self.leaving.is_some() || !self.succession.drain_on_terminate => {
                    return Some(Stopped::Terminated);
                }
                Asked::Terminate => self.leave_to_end(),
                Asked::Reload => {
                    // The outcome is in the log; there is nobody else to tell.
                    let _ = self.reload();
                }
            }
        }
        None
    }

    fn answer_orders(&mut self) {
        while let Some(order) = self.received.next() {
            match order {
                Order::Reload(answer) => {
                    let outcome = self.reload();
                    // Whoever asked may have gone; the outcome is in the log too.
                    let _ = answer.send(outcome);
                }
                Order::Switch(switch) => self.serving.switch(switch),
            }
        }
    }

    fn reload(&mut self) -> super::orders::Outcome {
        let under_way = self.arrival.is_some() || self.door.as_ref().is_some_and(Door::is_busy);
        let why = match self.leaving {
            Some(_) => "this process accepts no more clients",
            None if under_way => "another process is taking over; ask again in a moment",
            None => return self.serving.reload(&self.reread),
        };
        log::error(&format!("reload: nothing was changed: {why}"));
        Err(why.to_owned())
    }

    fn answer_door(&mut self) {
        while let Some(door) = &mut self.door
            && let Some(call) = door.poll()
        {
            match call {
                Call::Sockets if self.leaving.is_some() => {
                    door.refuse("the running process is ending: start without --take-over when it has");
                }
                Call::Sockets => match self.offer() {
                    Ok(sockets) => {
                        if let Some(door) = &mut self.door {
                            door.offer(sockets);
                        }
                    }
                    Err(error) => {
                        if let Some(door) = &mut self.door {
                            door.refuse(&format!("it cannot double its sockets: {error}"));
                        }
                    }
                },
                Call::Yield(kept) => self.yield_to_caller(&kept),
                Call::GaveUp => {
                    if let Some(file) = &self.pid_file {
                        file.restore();
                    }
                }
            }
        }
    }

    /// The listening sockets: the pools', in their order, the ports', and the door's.
    fn offer(&self) -> std::io::Result<Vec<(Offered, OwnedFd)>> {
        let mut all = Vec::new();
        for (listener, place) in self.serving.listeners.iter().zip(places(&self.serving.pools)) {
            let (name, listen) = (place.settings.pool.name.clone(), place.listen.to_string());
            all.push((Offered { used_for: Use::Pool, name, listen }, listener.socket().try_clone()?));
        }
        for (used_for, listen, socket) in &self.ports.offered {
            let offered = Offered { used_for: *used_for, name: String::new(), listen: listen.clone() };
            all.push((offered, socket.try_clone()?));
        }
        if let Some(door) = &self.door {
            let (socket, path) = door.socket();
            let offered = Offered { used_for: Use::HandOver, name: String::new(), listen: path.to_owned() };
            all.push((offered, socket.try_clone()?));
        }
        Ok(all)
    }

    /// Another process accepts: this one stops, and its sessions leave in their time.
    fn yield_to_caller(&mut self, kept: &[u16]) {
        let is_kept = |place: usize| kept.iter().any(|kept| usize::from(*kept) == place);
        for (place, listener) in self.serving.listeners.iter_mut().enumerate() {
            if is_kept(place) {
                listener.give_away();
            }
        }
        let doors_place = self.serving.listeners.len() + self.ports.offered.len();
        if let Some(admin) = &mut self.ports.admin
            && is_kept(self.serving.listeners.len())
        {
            admin.give_away();
        }
        self.serving.listeners.clear();
        std::mem::take(&mut self.ports).end();
        let mut successor = None;
        if let Some(mut door) = self.door.take() {
            if is_kept(doors_place) {
                door.give_away();
            }
            successor = door.yielded();
        }
        let Succession { drain_timeout, .. } = self.succession;
        log::notice(&format!(
            "process {} accepts in our place; {} sessions leave within {drain_timeout:?}",
            successor.unwrap_or_default(),
            self.serving.session_count()
        ));
        self.serving.tell_all(|| Message::Leave(Leave { spread: drain_timeout, grace: DRAIN_GRACE }));
        self.leaving = Some(Leaving { stopped: Stopped::TakenOver, end_at: None });
    }

    /// This process is to end: nobody is accepted any more, and sessions leave as soon as they are quiet.
    fn leave_to_end(&mut self) {
        let Succession { drain_timeout, .. } = self.succession;
        self.serving.listeners.clear();
        log::notice(&format!(
            "ending: {} sessions leave, within {drain_timeout:?}; a second signal ends at once",
            self.serving.session_count()
        ));
        self.serving.tell_all(|| Message::Leave(Leave { spread: Duration::ZERO, grace: drain_timeout }));
        let end_at = Instant::now().checked_add(drain_timeout);
        self.leaving = Some(Leaving { stopped: Stopped::Terminated, end_at });
    }
}

impl Ports {
    /// Accepts nobody any more; who is being answered is neither cut nor waited for.
    fn end(self) {
        drop(self.stats);
        if let Some(admin) = self.admin {
            let retired = thread::Builder::new().name("admin-end".to_owned()).spawn(|| admin.retire());
            if let Err(error) = retired {
                log::warning(&format!("the admin port ends at once: {error}"));
            }
        }
    }
}

impl Serving {
    fn session_count(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.sessions()).sum()
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for inbox in &self.inboxes {
            Arc::clone(inbox).post(message());
        }
    }
}
