//! The world of the simulation: three sentinels, three instances, two workers, and what may go wrong between them.

use super::*;
use shoal_hashkit::Random;

const SENTINELS: usize = 3;
const INSTANCES: u16 = 3;
const WORKERS: usize = 2;

/// One step of the world.
const STEP: Duration = Duration::from_millis(10);

/// What follows, right or wrong.
pub(super) trait Follows {
    fn poll(&mut self, now: Time) -> Option<Step>;
    fn handle_answer(&mut self, whom: &Whom, answer: Result<&[Reply], String>, now: Time);
    fn handle_changed(&mut self, now: Time);
    fn handle_hint(&mut self, now: Time);
    fn replace_sentinels(&mut self);
}

impl Follows for Following {
    fn poll(&mut self, now: Time) -> Option<Step> {
        self.poll(now)
    }

    fn handle_answer(&mut self, whom: &Whom, answer: Result<&[Reply], String>, now: Time) {
        self.handle_answer(whom, answer, now);
    }

    fn handle_changed(&mut self, now: Time) {
        self.handle_changed(now);
    }

    fn handle_hint(&mut self, now: Time) {
        self.handle_hint(now);
    }

    fn replace_sentinels(&mut self) {
        self.replace_sentinels((0..SENTINELS).map(|number| format!("s{number}")).collect());
    }
}

/// Follows whoever was named last, as a client does that obeys each message: the canary.
pub(super) struct LastWord {
    sentinels: usize,
    next_look: Time,
    present: Option<Endpoint>,
    steps: VecDeque<Step>,
}

impl LastWord {
    pub(super) fn new(sentinels: usize) -> LastWord {
        LastWord { sentinels, next_look: Time::default(), present: None, steps: VecDeque::new() }
    }
}

impl Follows for LastWord {
    fn poll(&mut self, now: Time) -> Option<Step> {
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.steps.extend((0..self.sentinels).map(|index| Step::Ask {
                whom: Whom::Sentinel(index),
                requests: word::ask_sentinel("m"),
                replies: SENTINEL_REPLIES,
            }));
        }
        self.steps.pop_front()
    }

    fn handle_answer(&mut self, _: &Whom, answer: Result<&[Reply], String>, _: Time) {
        let Ok(report) = answer.and_then(Report::read) else { return };
        if self.present.as_ref() != Some(&report.address) {
            self.present = Some(report.address.clone());
            self.steps.push_back(Step::Change(Change::To(report.address)));
        }
    }

    fn handle_changed(&mut self, _: Time) {}

    fn handle_hint(&mut self, now: Time) {
        self.next_look = now;
    }

    fn replace_sentinels(&mut self) {
        self.next_look = self.next_look.min(Time::default());
    }
}

#[derive(Clone, Debug)]
struct Sentinel {
    up: bool,
    /// Cut off from the other sentinels, and from the proxy.
    alone: bool,
    cut: bool,
    epoch: u64,
    primary: u16,
    promoting: Option<u16>,
}

#[derive(Clone, Debug)]
struct Instance {
    up: bool,
    cut: bool,
    is_primary: bool,
    /// When it last answered that it is one.
    said_so: Option<Time>,
}

/// How old an instance's word may be when workers are led to it: the answer's way, and that of a Stop to all workers.
const WORD_KEPT: Duration = Duration::from_millis(500);

/// A failover that a sentinel leads.
struct Failover {
    leader: usize,
    to: u16,
    epoch: u64,
}

/// Something on its way.
enum Coming {
    Asked(Whom),
    Answer(Whom, Result<Vec<Reply>, String>),
    /// To this worker: what it is to do.
    Order(usize, Change),
    /// From this worker: it has done it.
    Obeyed,
    Hint,
}

pub(super) struct World<F> {
    follows: F,
    random: Random,
    now: Time,
    sentinels: Vec<Sentinel>,
    instances: Vec<Instance>,
    failover: Option<Failover>,
    epochs: u64,
    coming: Vec<(Time, Coming)>,
    /// Where each worker sends to.
    workers: [Option<Endpoint>; WORKERS],
    owing: usize,
    /// The greatest epoch that was answered with, and whom it named.
    heard: (u64, u16),
    /// What was ordered last.
    ordered: Option<Change>,
    pub(super) broken: Vec<String>,
    pub(super) switches: usize,
    pub(super) early: usize,
}

pub(super) fn address(port: u16) -> Endpoint {
    Endpoint::Tcp { host: "10.0.0.1".to_owned(), port }
}

pub(super) fn role(is_primary: bool) -> Reply {
    let word = if is_primary { "master" } else { "slave" };
    Reply::List(vec![Reply::Text(word.to_owned()), Reply::Integer(1)])
}

pub(super) fn sentinel_replies(epoch: u64, primary: u16, promoted: Option<u16>) -> Vec<Reply> {
    let text = |text: &str| Reply::Text(text.to_owned());
    let flags = if promoted.is_some() { "master,failover_in_progress" } else { "master" };
    let own = [text("flags"), text(flags), text("config-epoch"), text(&epoch.to_string())];
    let replica = |port: u16| {
        let words = ["ip", "10.0.0.1", "port", &port.to_string(), "flags", "slave,promoted"].map(text);
        Reply::List(words.to_vec())
    };
    vec![
        Reply::List(own.to_vec()),
        Reply::List(vec![text("10.0.0.1"), text(&primary.to_string())]),
        Reply::List(promoted.map(replica).into_iter().collect()),
        Reply::List(own.to_vec()),
    ]
}

impl<F: Follows> World<F> {
    pub(super) fn new(seed: u32, follows: F) -> World<F> {
        let sentinel = Sentinel { up: true, alone: false, cut: false, epoch: 0, primary: 1, promoting: None };
        let instance = |port: u16| Instance { up: true, cut: false, is_primary: port == 1, said_so: None };
        World {
            follows,
            random: Random::seeded(seed),
            now: Time::from_micros(1),
            sentinels: vec![sentinel; SENTINELS],
            instances: (1..=INSTANCES).map(instance).collect(),
            failover: None,
            epochs: 0,
            coming: Vec::new(),
            workers: [const { None }; WORKERS],
            owing: 0,
            heard: (0, 1),
            ordered: None,
            broken: Vec::new(),
            switches: 0,
            early: 0,
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random.next() as usize % below
    }

    /// Steps of faults.
    pub(super) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.pick(40) == 0 {
                self.misfortune();
            }
            self.step();
        }
    }

    /// All comes back, and time passes in which everybody learns everything.
    pub(super) fn heal(&mut self) {
        for sentinel in &mut self.sentinels {
            (sentinel.up, sentinel.alone, sentinel.cut) = (true, false, false);
        }
        for instance in &mut self.instances {
            (instance.up, instance.cut) = (true, false);
        }
        for _ in 0..5_000 {
            self.step();
        }
    }

    /// Who is the primary by the sentinels' own rule.
    pub(super) fn truth(&self) -> Endpoint {
        let best =
            self.sentinels.iter().max_by_key(|sentinel| sentinel.epoch).map(|sentinel| sentinel.primary);
        address(best.unwrap_or_default())
    }

    /// Where all workers send to.
    pub(super) fn led_to(&self) -> Option<Endpoint> {
        self.workers.iter().all(|own| *own == self.workers[0]).then(|| self.workers[0].clone()).flatten()
    }

    fn misfortune(&mut self) {
        let sentinel = self.pick(SENTINELS);
        let instance = self.pick(usize::from(INSTANCES));
        match self.pick(11) {
            10 => self.reload(),
            0 => self.sentinels[sentinel].up ^= true,
            1 => self.sentinels[sentinel].alone ^= true,
            2 => self.sentinels[sentinel].cut ^= true,
            3 => self.instances[instance].cut ^= true,
            4 => self.instances[instance].up ^= true,
            5 => self.failover = None, // given up, at whatever step it is
            _ => self.begin_failover(),
        }
        if self.failover.is_none() {
            self.sentinels.iter_mut().for_each(|sentinel| sentinel.promoting = None);
        }
    }

    /// The configuration names other sentinels, which are the same ones by other names: whatever was asked before is answered to
    /// nobody.
    fn reload(&mut self) {
        self.coming.retain(|(_, coming)| !matches!(coming, Coming::Asked(_) | Coming::Answer(..)));
        self.follows.replace_sentinels();
    }

    /// The sentinels are a majority that hears each other; one of them leads.
    fn begin_failover(&mut self) {
        let able: Vec<usize> =
            (0..SENTINELS).filter(|&it| self.sentinels[it].up && !self.sentinels[it].alone).collect();
        if self.failover.is_some() || able.len() * 2 <= SENTINELS {
            return;
        }
        let leader = able[self.pick(able.len())];
        // Who leads has learned the newest configuration from the votes.
        let newest = able.iter().copied().max_by_key(|&it| self.sentinels[it].epoch).unwrap_or(leader);
        let known = (self.sentinels[newest].epoch, self.sentinels[newest].primary);
        (self.sentinels[leader].epoch, self.sentinels[leader].primary) = known;
        let to = 1 + self.pick(usize::from(INSTANCES)) as u16;
        if to == known.1 || !self.instances[usize::from(to) - 1].up {
            return;
        }
        self.epochs += 1;
        self.sentinels[leader].promoting = Some(to);
        self.failover = Some(Failover { leader, to, epoch: self.epochs });
    }

    /// What sentinels and instances do by themselves.
    fn sentinels_step(&mut self) {
        if let Some(Failover { leader, to, epoch }) = self.failover {
            let up = self.sentinels[leader].up && self.instances[usize::from(to) - 1].up;
            if !up {
                self.failover = None;
                self.sentinels[leader].promoting = None;
            } else if !self.instances[usize::from(to) - 1].is_primary {
                if self.pick(20) == 0 {
                    self.instances[usize::from(to) - 1].is_primary = true;
                }
            } else if self.pick(50) == 0 {
                let leader = &mut self.sentinels[leader];
                (leader.epoch, leader.primary, leader.promoting) = (epoch, to, None);
                self.failover = None;
                if self.pick(3) > 0 {
                    self.later(Coming::Hint, 5); // the message; a third of them is lost
                }
            }
        }
        // Sentinels tell each other.
        let (one, other) = (self.pick(SENTINELS), self.pick(SENTINELS));
        let hears = |it: &Sentinel| it.up && !it.alone;
        if self.pick(20) == 0 && hears(&self.sentinels[one]) && hears(&self.sentinels[other]) {
            let (epoch, primary) = (self.sentinels[one].epoch, self.sentinels[one].primary);
            if epoch > self.sentinels[other].epoch {
                (self.sentinels[other].epoch, self.sentinels[other].primary) = (epoch, primary);
            }
        }
        // They make replicas again of those that are not the primary, after a while; and the primary one, if it was restarted.
        if self.pick(300) == 0 && self.failover.is_none() {
            let best = self.sentinels.iter().filter(|it| hears(it)).max_by_key(|it| it.epoch).cloned();
            let Some(best) = best else { return };
            let newest = self.sentinels.iter().all(|it| it.epoch <= best.epoch);
            for (index, instance) in self.instances.iter_mut().enumerate() {
                if instance.up && newest {
                    instance.is_primary = index + 1 == usize::from(best.primary);
                }
            }
        }
    }

    fn later(&mut self, coming: Coming, steps: usize) {
        let after = STEP * (1 + self.pick(steps)) as u32;
        self.coming.push((self.now + after, coming));
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        self.sentinels_step();
        let now = self.now;
        let (due, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.coming).into_iter().partition(|(at, _)| *at <= now);
        self.coming = left;
        for (_, coming) in due {
            self.arrive(coming);
            self.work();
        }
        self.work();
    }

    fn arrive(&mut self, coming: Coming) {
        match coming {
            Coming::Hint => self.follows.handle_hint(self.now),
            Coming::Asked(whom) => {
                let answer = self.answer(&whom);
                match answer {
                    Some(replies) => self.later(Coming::Answer(whom, Ok(replies)), 5),
                    None => {
                        // Refused at once, or not within the patience of who asked.
                        let steps = if self.pick(2) == 0 { 2 } else { 100 };
                        self.later(Coming::Answer(whom, Err("no".to_owned())), steps);
                    }
                }
            }
            Coming::Answer(whom, answer) => {
                let mut newer = None;
                if let (Whom::Sentinel(_), Ok(replies)) = (&whom, &answer)
                    && let Ok(report) = Report::read(replies)
                    && report.epoch > self.heard.0
                    && let Endpoint::Tcp { port, .. } = report.address
                {
                    self.heard = (report.epoch, port);
                    newer = Some(report);
                }
                let answer = answer.as_ref().map(Vec::as_slice).map_err(Clone::clone);
                self.follows.handle_answer(&whom, answer, self.now);
                self.work();
                if let Some(newer) = newer {
                    self.check_stopped(&newer);
                }
            }
            Coming::Order(worker, change) => {
                self.workers[worker] = match change {
                    Change::To(to) => Some(to),
                    Change::Stop | Change::Unknown => None,
                };
                let mut spoken_to: Vec<&Endpoint> = self.workers.iter().flatten().collect();
                spoken_to.dedup();
                if spoken_to.len() > 1 {
                    self.broken.push(format!("{:?}: two instances at once: {spoken_to:?}", self.now));
                }
                self.later(Coming::Obeyed, 3);
            }
            Coming::Obeyed => {
                self.owing = self.owing.saturating_sub(1);
                if self.owing == 0 {
                    self.follows.handle_changed(self.now);
                }
            }
        }
    }

    fn answer(&mut self, whom: &Whom) -> Option<Vec<Reply>> {
        match whom {
            Whom::Sentinel(index) => {
                let it = &self.sentinels[*index];
                (it.up && !it.cut).then(|| sentinel_replies(it.epoch, it.primary, it.promoting))
            }
            Whom::Instance(Endpoint::Tcp { port, .. }) => {
                let now = self.now;
                let it = &mut self.instances[usize::from(*port) - 1];
                let answers = it.up && !it.cut;
                if answers && it.is_primary {
                    it.said_so = Some(now);
                }
                answers.then(|| vec![role(it.is_primary)])
            }
            Whom::Instance(Endpoint::Unix { .. }) => None,
        }
    }

    /// Does all that is to be done now.
    fn work(&mut self) {
        while let Some(step) = self.follows.poll(self.now) {
            match step {
                Step::Ask { whom, .. } => self.later(Coming::Asked(whom), 3),
                Step::Change(change) => {
                    if let Change::To(to) = &change {
                        self.check_led(to);
                    }
                    self.ordered = Some(change.clone());
                    self.owing = WORKERS;
                    for worker in 0..WORKERS {
                        self.later(Coming::Order(worker, change.clone()), 10);
                    }
                }
                Step::Tell(_) => {}
            }
        }
    }

    /// Workers are about to be led to `to`.
    fn check_led(&mut self, to: &Endpoint) {
        self.switches += 1;
        let Endpoint::Tcp { port, .. } = to else { return };
        let is_named = self.sentinels.iter().any(|it| it.epoch >= self.heard.0 && it.primary == *port);
        let is_promoted = self.failover.as_ref().is_some_and(|failover| failover.to == *port);
        self.early += usize::from(is_promoted && !is_named);
        // Led back: to somebody whom the greatest epoch heard does not name, and who has not said himself that he is the primary.
        let instance = &self.instances[usize::from(*port) - 1];
        let said_so = instance.said_so.is_some_and(|said| self.now.since(said) <= WORD_KEPT);
        if *port != self.heard.1 && !instance.is_primary && !said_so {
            self.broken
                .push(format!("{:?}: led to {to} by an older word than epoch {}", self.now, self.heard.0));
        }
    }

    /// A greater epoch was just heard of: workers are told to let go of everybody but whom it names, or is about to name.
    fn check_stopped(&mut self, newer: &Report) {
        if let Some(Change::To(to)) = &self.ordered
            && *to != newer.address
            && Some(to) != newer.promoted.as_ref()
            && self.owing == 0
        {
            let (now, named, epoch) = (self.now, &newer.address, newer.epoch);
            self.broken.push(format!("{now:?}: {to} is spoken to, and epoch {epoch} names {named}"));
        }
    }
}
