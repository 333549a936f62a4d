//! Which instance is the primary of a shard that Sentinel watches: a state machine without sockets and clocks.
//!
//! ```text
//!   every second, and at every hint         what is believed               what workers are told
//!   ┌─ ask each sentinel ──▶ epoch, address ──▶ named: the greatest epoch ─▶ Stop: nobody speaks to the old one
//!   ├─ ask the primary ROLE ─────────────────▶ it says replica ───────────▶ Stop
//!   └─ ask who is named ROLE ────────────────▶ it says primary ───────────▶ To: the new one; only after Stop is obeyed
//!   hints: a message of a sentinel, -READONLY, a connection that failed: never believed, only a reason to look
//! ```
//!
//! Invariant: workers send to one instance of a shard at a time. They are told of the next one when all of them have let go of
//! the last one, and it is never asked anything again unless it is named anew.
//!
//! Invariant: what is known does not go backwards: a sentinel that is behind, or cut off together with an old primary, is
//! not believed against a greater epoch, and nobody is led to an instance that does not itself say that it is the primary.
//!
//! The rule and its reasons are in `docs/decisions/0015-a-shard-s-primary-is-who-the-greatest-epoch-names.md`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shoal_topology::Endpoint;

use crate::returning::reply::Reply;
use crate::time::Time;
use word::{Report, SENTINEL_REPLIES};

pub mod shard;
pub mod word;

/// The pause between two looks while all is well: messages get lost.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The same while there is no primary, or a sentinel is about to make another one.
pub const LOOK_SOON: Duration = Duration::from_millis(100);

/// The least pause between two looks, however many hints there are.
pub const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// How long requests wait for a new primary once the old one is not spoken to any more; then they fail by name.
pub const HELD_MAX: Duration = Duration::from_millis(500);

/// How long the first finding waits for a majority of the sentinels; then the best word of the others is taken.
pub const MINORITY_GRACE: Duration = Duration::from_secs(3);

/// How long a majority must name one instance under an epoch that is not greater than the known one, while the known primary
/// does not say that it is one, before it is believed: the sentinels were set up anew, or gave up a failover.
pub const REGRESS_GRACE: Duration = Duration::from_secs(10);

/// How long an instance's word about itself is good.
const ROLE_FRESH: Duration = Duration::from_secs(1);

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// A sentinel, by its index.
    Sentinel(usize),
    /// An instance.
    Instance(Endpoint),
}

/// What all workers are to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing more is sent to the present primary. Requests wait.
    Stop,
    /// Requests fail by name.
    Unknown,
    /// Requests go here.
    To(Endpoint),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these requests, and hand in as many replies or why there are none ([`Following::handle_answer`]).
    Ask {
        /// To whom.
        whom: Whom,
        /// The requests.
        requests: Vec<u8>,
        /// How many they are.
        replies: usize,
    },
    /// Tell all workers, and say when they have done it ([`Following::handle_changed`]).
    Change(Change),
    /// Tell people.
    Tell(Told),
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The primary is another one, or was found.
    Led(Led),
    /// Why there is no primary, or what is odd.
    Warning(String),
    /// There is nothing odd any more.
    AllWell,
}

/// A change of the primary that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// The primary before, if it was known.
    pub from: Option<Endpoint>,
    /// The primary.
    pub to: Endpoint,
    /// The configuration epoch.
    pub epoch: u64,
    /// Who said so.
    pub by: String,
    /// From when it was known to when nothing more was sent to the old one.
    pub stopped_after: Duration,
    /// From when it was known to when requests went to the new one.
    pub led_after: Duration,
}

/// A sentinel.
#[derive(Clone, Debug, Default)]
struct Sentinel {
    asked_at: Option<Time>,
    /// What it said when last asked; `None` if it did not answer.
    report: Option<Report>,
    /// Why there is no report.
    why: String,
}

/// What an instance said of itself.
#[derive(Clone, Debug, Default)]
struct Role {
    asked_at: Option<Time>,
    said: Option<(Result<bool, String>, Time)>,
}

/// The word that is believed.
#[derive(Clone, Debug)]
struct Named {
    epoch: u64,
    address: Endpoint,
    by: String,
}

/// A switch that is under way.
#[derive(Clone, Debug)]
struct Switch {
    from: Option<Endpoint>,
    known_at: Time,
    stopped_at: Option<Time>,
    /// Requests fail by name already.
    given_up: bool,
}

/// Follows one shard.
#[derive(Debug)]
pub struct Following {
    watched_as: String,
    names: Vec<String>,
    sentinels: Vec<Sentinel>,
    roles: BTreeMap<Endpoint, Role>,
    named: Option<Named>,
    /// Who is being made the primary, and says that it is, before any sentinel names it.
    promoted: Option<Endpoint>,
    /// The instance that workers send to.
    present: Option<Endpoint>,
    switch: Option<Switch>,
    /// What workers were told and have not all done.
    under_way: Option<Change>,
    /// Since when a majority names somebody under an epoch that is not greater.
    elder: Option<(Report, Time)>,
    began_at: Option<Time>,
    looked_at: Time,
    next_look: Time,
    hinted_at: Time,
    said: String,
    looks: u64,
    steps: VecDeque<Step>,
}

impl Following {
    /// Knows nothing yet. `sentinels` are named as in messages.
    pub fn new(watched_as: &str, sentinels: Vec<String>) -> Following {
        Following {
            watched_as: watched_as.to_owned(),
            sentinels: vec![Sentinel::default(); sentinels.len()],
            names: sentinels,
            roles: BTreeMap::new(),
            named: None,
            promoted: None,
            present: None,
            switch: None,
            under_way: None,
            elder: None,
            began_at: None,
            looked_at: Time::default(),
            next_look: Time::default(),
            hinted_at: Time::default(),
            said: String::new(),
            looks: 0,
            steps: VecDeque::new(),
        }
    }

    /// Other sentinels are asked from now on; what is known stays. Nothing that was asked before is answered any more, by
    /// sentinels or by instances: all of it is asked anew.
    pub fn replace_sentinels(&mut self, sentinels: Vec<String>) {
        self.sentinels = vec![Sentinel::default(); sentinels.len()];
        self.names = sentinels;
        self.elder = None;
        self.steps.retain(|step| !matches!(step, Step::Ask { .. }));
        self.roles.values_mut().for_each(|role| role.asked_at = None);
        self.next_look = Time::default();
    }

    /// Requests wait already, since the shard had another primary, or none, until now: for [`HELD_MAX`], then they fail.
    pub fn hold(&mut self, now: Time) {
        self.switch = Some(Switch { from: None, known_at: now, stopped_at: Some(now), given_up: false });
    }

    /// The configuration epoch that is believed.
    pub fn epoch(&self) -> u64 {
        self.named.as_ref().map_or(0, |named| named.epoch)
    }

    /// How many sentinels answered when last asked.
    pub fn reachable(&self) -> usize {
        self.sentinels.iter().filter(|sentinel| sentinel.report.is_some()).count()
    }

    /// The sentinels that did not answer when last asked, each with why.
    pub fn silent(&self) -> impl Iterator<Item = String> + '_ {
        let all = self.sentinels.iter().zip(&self.names);
        all.filter(|(sentinel, _)| !sentinel.why.is_empty())
            .map(|(sentinel, name)| format!("{name}: {}", sentinel.why))
    }

    /// How often it was looked.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Something may have happened.
    pub fn handle_hint(&mut self, now: Time) {
        self.hinted_at = now;
        self.look_at(now.max(self.looked_at + LOOK_PAUSE));
    }

    /// Takes the answer to a [`Step::Ask`], or why there is none.
    pub fn handle_answer(&mut self, whom: &Whom, answer: Result<&[Reply], String>, now: Time) {
        let asked_at = match whom {
            Whom::Sentinel(index) => {
                let Some(sentinel) = self.sentinels.get_mut(*index) else { return };
                let asked_at = sentinel.asked_at.take();
                match answer.and_then(Report::read) {
                    Ok(report) => {
                        let (unsettled, promoted) = (report.unsettled, report.promoted.clone());
                        (sentinel.report, sentinel.why) = (Some(report), String::new());
                        if unsettled {
                            self.look_at(self.looked_at + LOOK_SOON);
                        }
                        if let Some(promoted) = promoted {
                            self.ask_role(&promoted, now);
                        }
                    }
                    Err(why) => (sentinel.report, sentinel.why) = (None, why),
                }
                asked_at
            }
            Whom::Instance(address) => {
                let Some(role) = self.roles.get_mut(address) else { return };
                let said = answer.and_then(|replies| match replies.first() {
                    Some(reply) => word::is_primary(reply),
                    None => Err("it answers nothing".to_owned()),
                });
                role.said = Some((said, now));
                role.asked_at.take()
            }
        };
        if asked_at.is_some_and(|asked_at| asked_at <= self.hinted_at) {
            // What it said may be older than the hint.
            self.hinted_at = Time::default();
            self.look_at(self.looked_at + LOOK_PAUSE);
        }
    }

    /// All workers have done what the last [`Step::Change`] asked for.
    pub fn handle_changed(&mut self, now: Time) {
        match self.under_way.take() {
            Some(Change::Stop) => {
                if let Some(switch) = &mut self.switch {
                    switch.stopped_at = Some(now);
                }
            }
            Some(Change::To(to)) => {
                let by = match &self.named {
                    Some(named) if named.address == to => named.by.clone(),
                    _ => "its own word, as a sentinel promotes it".to_owned(),
                };
                let led = match self.switch.take() {
                    Some(switch) => Led {
                        stopped_after: switch.stopped_at.unwrap_or(now).since(switch.known_at),
                        led_after: now.since(switch.known_at),
                        from: switch.from,
                        to,
                        epoch: self.epoch(),
                        by,
                    },
                    None => return,
                };
                self.said.clear();
                self.steps.push_back(Step::Tell(Told::Led(led)));
            }
            Some(Change::Unknown) | None => {}
        }
    }

    /// When [`Following::poll`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Time {
        let gives_up = match &self.switch {
            Some(Switch { stopped_at: Some(at), given_up: false, .. }) => *at + HELD_MAX,
            _ => Time::NEVER,
        };
        self.next_look.min(gives_up)
    }

    /// What is to be done next, if anything.
    pub fn poll(&mut self, now: Time) -> Option<Step> {
        if now >= self.next_look {
            self.look(now);
        }
        if self.steps.is_empty() {
            self.decide(now);
        }
        self.steps.pop_front()
    }

    fn look_at(&mut self, at: Time) {
        self.next_look = self.next_look.min(at);
    }

    /// Asks everybody who is not being asked already.
    fn look(&mut self, now: Time) {
        self.began_at.get_or_insert(now);
        self.looked_at = now;
        self.looks += 1;
        for index in 0..self.sentinels.len() {
            let sentinel = &mut self.sentinels[index];
            if sentinel.asked_at.is_none() {
                sentinel.asked_at = Some(now);
                let requests = word::ask_sentinel(&self.watched_as);
                let whom = Whom::Sentinel(index);
                self.steps.push_back(Step::Ask { whom, requests, replies: SENTINEL_REPLIES });
            }
        }
        let concerned = self.concerned();
        self.roles.retain(|address, role| role.asked_at.is_some() || concerned.contains(address));
        for address in concerned {
            self.ask_role(&address, now);
        }
        let calm = self.present.is_some()
            && self.elder.is_none()
            && !self.sentinels.iter().filter_map(|it| it.report.as_ref()).any(|report| report.unsettled);
        self.next_look = now + if calm { LOOK_EVERY } else { LOOK_SOON };
    }

    /// The instances whose own word counts now.
    fn concerned(&self) -> Vec<Endpoint> {
        let mut all: Vec<Endpoint> = self.present.iter().chain(&self.promoted).cloned().collect();
        all.extend(self.named.iter().map(|named| named.address.clone()));
        for report in self.sentinels.iter().filter_map(|sentinel| sentinel.report.as_ref()) {
            all.extend([Some(&report.address), report.promoted.as_ref()].into_iter().flatten().cloned());
        }
        all.sort();
        all.dedup();
        all
    }

    fn ask_role(&mut self, address: &Endpoint, now: Time) {
        let role = self.roles.entry(address.clone()).or_default();
        if role.asked_at.is_none() {
            role.asked_at = Some(now);
            let whom = Whom::Instance(address.clone());
            self.steps.push_back(Step::Ask { whom, requests: word::ask_instance(), replies: 1 });
        }
    }

    /// What the instance lately said of itself: that it is the primary, or not.
    fn role(&self, address: &Endpoint, now: Time) -> Option<&Result<bool, String>> {
        let (said, at) = self.roles.get(address)?.said.as_ref()?;
        (*at + ROLE_FRESH >= now).then_some(said)
    }

    fn says_primary(&self, address: &Endpoint, now: Time) -> bool {
        matches!(self.role(address, now), Some(Ok(true)))
    }

    fn says_replica(&self, address: &Endpoint, now: Time) -> bool {
        matches!(self.role(address, now), Some(Ok(false)))
    }

    fn decide(&mut self, now: Time) {
        if self.under_way.is_some() {
            return;
        }
        self.believe(now);
        self.notice_promotion(now);
        let goal = self.goal().cloned();
        let Some(present) = self.present.clone() else { return self.lead(goal, now) };
        let says_replica = self.says_replica(&present, now);
        if says_replica || goal.as_ref().is_some_and(|goal| *goal != present) {
            if goal.as_ref() == Some(&present) {
                self.warn(format!("{present} says that it is a replica now"));
            }
            self.begin_switch(Some(present), now);
            self.present = None;
            self.look_at(now);
            return self.change(Change::Stop);
        }
        if self.reachable() > 0 && !self.said.is_empty() {
            self.said.clear();
            self.steps.push_back(Step::Tell(Told::AllWell));
        }
        if let Some(silence) = self.silence() {
            self.warn(silence);
        }
    }

    fn begin_switch(&mut self, from: Option<Endpoint>, now: Time) {
        self.switch = Some(Switch { from, known_at: now, stopped_at: None, given_up: false });
    }

    /// Nobody is sent to: leads workers to `goal` if that is the primary by its own word.
    fn lead(&mut self, goal: Option<Endpoint>, now: Time) {
        let silence = self.silence();
        if let Some(goal) = goal {
            if self.says_primary(&goal, now) {
                self.present = Some(goal.clone());
                if self.switch.is_none() {
                    self.begin_switch(None, now);
                }
                return self.change(Change::To(goal));
            }
            match self.role(&goal, now) {
                // One thing is said at a time, or each would be news after the other.
                Some(_) if silence.is_some() => {}
                Some(Ok(_)) => self.warn(format!("{goal} is named, and says that it is a replica")),
                Some(Err(why)) => {
                    let why = format!("{goal} is named, and does not say that it is the primary: {why}");
                    self.warn(why);
                }
                // Its answer is awaited.
                None => self.ask_role(&goal, now),
            }
        }
        if let Some(silence) = silence {
            self.warn(silence);
        }
        if let Some(Switch { stopped_at: Some(at), given_up, .. }) = &mut self.switch
            && !*given_up
            && *at + HELD_MAX <= now
        {
            *given_up = true;
            self.change(Change::Unknown);
        }
    }

    /// Where workers should be led, as far as is known.
    fn goal(&self) -> Option<&Endpoint> {
        let named = self.named.as_ref()?;
        Some(self.promoted.as_ref().unwrap_or(&named.address))
    }

    /// Who is being promoted takes writes before it is named, and what is written elsewhere from then on is lost.
    fn notice_promotion(&mut self, now: Time) {
        let Some(named) = &self.named else { return };
        let reports = self.sentinels.iter().filter_map(|sentinel| sentinel.report.as_ref());
        let under_way = reports.filter(|report| report.epoch >= named.epoch);
        let found = under_way
            .filter_map(|report| report.promoted.as_ref())
            .find(|promoted| **promoted != named.address && self.says_primary(promoted, now));
        match (found, &self.promoted) {
            (Some(found), _) => self.promoted = Some(found.clone()),
            // The failover was given up, and somebody has made it a replica again.
            (None, Some(promoted)) if self.says_replica(promoted, now) => self.promoted = None,
            (None, _) => {}
        }
    }

    /// Takes what the sentinels say, where it is newer.
    fn believe(&mut self, now: Time) {
        let reports = || {
            self.sentinels.iter().zip(&self.names).filter_map(|(it, name)| Some((it.report.as_ref()?, name)))
        };
        let votes = |one: &Report| {
            reports().filter(|(other, _)| other.epoch == one.epoch && other.address == one.address).count()
        };
        let Some((best, by)) = reports().max_by_key(|(report, _)| (report.epoch, votes(report))) else {
            return;
        };
        let majority = self.sentinels.len() / 2 + 1;
        let is_newer = match &self.named {
            Some(named) => best.epoch > named.epoch,
            None => {
                let waited = self.began_at.is_some_and(|began| began + MINORITY_GRACE <= now);
                reports().count() >= majority || waited
            }
        };
        if is_newer {
            let named = Named { epoch: best.epoch, address: best.address.clone(), by: by.clone() };
            (self.named, self.promoted, self.elder) = (Some(named), None, None);
            return;
        }
        let elder = reports().find(|(report, _)| votes(report) >= majority).map(|(report, _)| report.clone());
        let elder = elder.filter(|elder| self.is_needed(elder, now));
        match (elder, &self.elder) {
            (None, _) => self.elder = None,
            (Some(elder), Some((known, since)))
                if (elder.epoch, &elder.address) == (known.epoch, &known.address) =>
            {
                if *since + REGRESS_GRACE <= now {
                    let by = "a majority of the sentinels, under an epoch that is not greater".to_owned();
                    let named = Named { epoch: elder.epoch, address: elder.address, by };
                    (self.named, self.promoted, self.elder) = (Some(named), None, None);
                }
            }
            (Some(elder), _) => self.elder = Some((elder, now)),
        }
    }

    /// Whether an older word of the majority may have to be taken: it names a primary, and what is known leads to none.
    fn is_needed(&self, elder: &Report, now: Time) -> bool {
        let Some(known) = self.goal() else { return false };
        elder.address != *known && self.says_primary(&elder.address, now) && !self.says_primary(known, now)
    }

    fn change(&mut self, change: Change) {
        self.under_way = Some(change.clone());
        self.steps.push_back(Step::Change(change));
    }

    /// Says `what` unless that was the last thing said.
    fn warn(&mut self, what: String) {
        if self.said != what {
            self.said.clone_from(&what);
            self.steps.push_back(Step::Tell(Told::Warning(what)));
        }
    }

    /// What there is to say of sentinels of which none answers.
    fn silence(&self) -> Option<String> {
        if self.sentinels.iter().any(|sentinel| sentinel.report.is_some() || sentinel.why.is_empty()) {
            return None;
        }
        let all: Vec<String> = self.silent().collect();
        Some(format!("none of its sentinels answers: {}", all.join("; ")))
    }
}

#[cfg(test)]
mod tests;
