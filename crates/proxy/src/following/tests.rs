//! A real [`Following`] against model sentinels, instances and workers, driven by seeds: sentinels die, lag, are cut off and come
//! back with what they last wrote down; failovers are begun, finished and given up; answers and hints are late or lost. What
//! must hold is checked at every step.

use world::{LastWord, World};

use super::*;
use crate::seeds::seeds;

mod world;

#[test]
fn workers_are_never_split_and_never_led_back_and_end_at_the_primary() {
    let (mut switches, mut early) = (0, 0);
    for seed in seeds(200) {
        let mut world = World::new(seed, following());
        world.run(4_000);
        world.heal();
        assert!(world.broken.is_empty(), "seed {seed}: {:#?}", world.broken);
        assert_eq!(world.led_to(), Some(world.truth()), "seed {seed}");
        switches += world.switches;
        early += world.early;
    }
    println!("{switches} switches, {early} of them before a sentinel named the new one");
    if seeds(200).len() > 1 {
        assert!(switches > 400 && early > 20, "{switches} switches, {early} early");
    }
}

#[test]
fn who_believes_the_last_word_breaks_each_promise_in_the_same_runs() {
    let (mut split, mut back) = (0, 0);
    for seed in 1..=40 {
        let mut world = World::new(seed, LastWord::new(3));
        world.run(4_000);
        split += usize::from(world.broken.iter().any(|what| what.contains("at once")));
        back += usize::from(world.broken.iter().any(|what| what.contains("an older word")));
    }
    assert!(split >= 10 && back >= 10, "{split} runs split, {back} runs led back");
}

fn following() -> Following {
    Following::new("m", (0..3).map(|number| format!("s{number}")).collect())
}

/// Answers all that is asked: the sentinels by what each says, instances by their role.
struct Script {
    following: Following,
    now: Time,
    words: Vec<Option<(u64, u16)>>,
    promoted: Option<u16>,
    primaries: Vec<u16>,
    changes: Vec<Change>,
    told: Vec<Told>,
}

impl Script {
    fn new(words: [Option<(u64, u16)>; 3], primaries: &[u16]) -> Script {
        Script {
            following: following(),
            now: Time::from_micros(1),
            words: words.to_vec(),
            promoted: None,
            primaries: primaries.to_vec(),
            changes: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Lets `span` pass, in steps of 10 ms, with workers that obey at once.
    fn pass(&mut self, span: Duration) -> &mut Script {
        let until = self.now + span;
        while self.now < until {
            while let Some(step) = self.following.poll(self.now) {
                match step {
                    Step::Change(change) => {
                        self.changes.push(change);
                        self.following.handle_changed(self.now);
                    }
                    Step::Tell(told) => self.told.push(told),
                    Step::Ask { whom: Whom::Sentinel(index), .. } => {
                        let promoted = self.promoted;
                        let answer = self.words[index]
                            .map(|(epoch, port)| world::sentinel_replies(epoch, port, promoted))
                            .ok_or_else(|| "refused".to_owned());
                        let whom = Whom::Sentinel(index);
                        let answer = answer.as_ref().map(Vec::as_slice).map_err(Clone::clone);
                        self.following.handle_answer(&whom, answer, self.now);
                    }
                    Step::Ask { whom: Whom::Instance(address), .. } => {
                        let is_primary = self.primaries.iter().any(|port| world::address(*port) == address);
                        let answer = [world::role(is_primary)];
                        self.following.handle_answer(&Whom::Instance(address), Ok(&answer), self.now);
                    }
                }
            }
            self.now = self.now + Duration::from_millis(10);
        }
        self
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

fn to(port: u16) -> Change {
    Change::To(world::address(port))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_greater_epoch_stops_at_once_and_leads_when_the_new_one_says_that_it_is_the_primary() {
    let mut script = Script::new([Some((1, 1)); 3], &[1]);
    assert_eq!(script.pass(SECOND).changes(), [to(1)]);
    script.words[2] = Some((2, 2));
    assert_eq!(script.pass(SECOND + LOOK_SOON).changes()[0], Change::Stop);
    assert_eq!(script.pass(SECOND).changes(), [], "it says replica: requests fail by name already");
    script.primaries = vec![1, 2];
    assert_eq!(script.pass(SECOND).changes(), [to(2)]);
    assert_eq!(script.following.epoch(), 2);
    assert_eq!(script.pass(30 * SECOND).changes(), [], "two sentinels that are behind change nothing");
}

#[test]
fn requests_wait_for_a_while_and_then_fail_by_name() {
    let mut script = Script::new([Some((1, 1)); 3], &[1]);
    script.pass(SECOND).changes();
    script.primaries.clear();
    assert_eq!(script.pass(5 * SECOND).changes(), [Change::Stop, Change::Unknown]);
    script.primaries = vec![1];
    assert_eq!(script.pass(SECOND).changes(), [to(1)], "it is the primary again, and nobody else was");
}

#[test]
fn who_is_being_promoted_is_followed_before_it_is_named() {
    let mut script = Script::new([Some((1, 1)); 3], &[1]);
    script.pass(SECOND).changes();
    script.promoted = Some(2);
    assert_eq!(script.pass(2 * SECOND).changes(), [], "it is a replica still");
    script.primaries = vec![1, 2];
    assert_eq!(script.pass(SECOND).changes(), [Change::Stop, to(2)]);
    script.promoted = None;
    assert_eq!(script.pass(5 * SECOND).changes(), [], "no sentinel names it yet");
    script.words = vec![Some((2, 2)); 3];
    assert_eq!(script.pass(5 * SECOND).changes(), []);
    assert_eq!(script.following.epoch(), 2);
}

#[test]
fn a_promotion_that_was_given_up_leads_back() {
    let mut script = Script::new([Some((1, 1)); 3], &[1, 2]);
    script.promoted = Some(2);
    script.pass(SECOND).changes();
    script.promoted = None;
    script.primaries = vec![1];
    assert_eq!(script.pass(2 * SECOND).changes(), [Change::Stop, to(1)]);
}

#[test]
fn one_sentinel_of_three_is_believed_after_a_while_and_none_is_complained_of_once() {
    let mut script = Script::new([None; 3], &[1]);
    assert_eq!(script.pass(10 * SECOND).changes(), []);
    let [Told::Warning(what)] = &script.told[..] else { panic!("{:?}", script.told) };
    assert_eq!(what, "none of its sentinels answers: s0: refused; s1: refused; s2: refused");
    let mut script = Script::new([Some((1, 1)), None, None], &[1]);
    assert_eq!(script.pass(MINORITY_GRACE - SECOND).changes(), []);
    assert_eq!(script.pass(2 * SECOND).changes(), [to(1)]);
}

#[test]
fn sentinels_that_were_set_up_anew_are_believed_by_majority_if_the_known_primary_is_none() {
    let mut script = Script::new([Some((7, 1)); 3], &[1, 2]);
    script.pass(SECOND).changes();
    script.words = vec![Some((0, 2)); 3];
    assert_eq!(script.pass(60 * SECOND).changes(), [], "the known one says that it is the primary");
    script.primaries = vec![2];
    assert_eq!(script.pass(REGRESS_GRACE - SECOND).changes(), [Change::Stop, Change::Unknown]);
    assert_eq!(script.pass(2 * SECOND).changes(), [to(2)]);
    assert_eq!(script.following.epoch(), 0);
}

/// Whom it asks now, nothing being answered.
fn asked(following: &mut Following, now: Time) -> Vec<Whom> {
    let steps = std::iter::from_fn(|| following.poll(now));
    steps.filter_map(|step| if let Step::Ask { whom, .. } = step { Some(whom) } else { None }).collect()
}

#[test]
fn whoever_was_asked_is_asked_anew_when_a_reload_names_other_sentinels() {
    let mut script = Script::new([Some((1, 1)); 3], &[1]);
    script.pass(SECOND).changes();
    let now = script.now + LOOK_EVERY;
    let first = Whom::Instance(world::address(1));
    assert!(asked(&mut script.following, now).contains(&first));
    // Its answer comes to nobody: the shard has another number now.
    script.following.replace_sentinels(vec!["s9".to_owned()]);
    assert_eq!(asked(&mut script.following, now), [Whom::Sentinel(0), first]);
}

#[test]
fn requests_that_wait_from_the_beginning_wait_no_longer_than_others() {
    let mut script = Script::new([None; 3], &[1]);
    script.following.hold(script.now);
    assert_eq!(script.pass(HELD_MAX - LOOK_SOON).changes(), []);
    assert_eq!(script.pass(2 * LOOK_SOON).changes(), [Change::Unknown]);
    script.words = vec![Some((1, 1)); 3];
    assert_eq!(script.pass(SECOND).changes(), [to(1)]);
    let mut script = Script::new([Some((1, 1)); 3], &[1]);
    script.following.hold(script.now);
    assert_eq!(script.pass(SECOND).changes(), [to(1)], "found in time");
}

#[test]
fn a_hint_is_a_reason_to_look_and_nothing_more() {
    let mut script = Script::new([Some((1, 1)); 3], &[1]);
    script.pass(SECOND / 2).changes();
    let looks = script.following.looks();
    for _ in 0..1_000 {
        script.following.handle_hint(script.now);
    }
    script.pass(SECOND / 10);
    let more = script.following.looks() - looks;
    assert!((1..=3).contains(&more), "{more} looks");
    assert_eq!(script.changes(), []);
}
