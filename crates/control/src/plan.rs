//! From what is to what should be, in numbered steps.
//!
//! ```text
//!   World ──▶ placing      instances without a node ──▶ scheduler ──▶ Place
//!         ──▶ for each standalone and pool:
//!             deletion     asked for ──▶ Stop, then Release
//!             leadership   who is each shard's primary ──▶ Tell: primary, replica of, open, close
//!             membership   Create what is missing, Delete what is too much, Write what is asked otherwise
//!             processes    Start what does not run
//!             proxies      what they serve ──▶ Tell
//!             report       Write what is known
//! ```
//!
//! A plan holds what can be done now. What comes after it is planned from what the world is then, so that whoever carries it
//! out may die anywhere: the next pass sees what was done, and goes on.
//!
//! Invariants, held by the simulation over every step and every death of control (`simulation`):
//!
//! 1. *One primary.* At no instant do two Redis of one shard let tenants write. A Redis is opened as primary only while the
//!    store names it, by uid, as its shard's; the store names another only when the one before was seen closed or gone; and
//!    no restart opens anything (see [`crate::runtime`]).
//! 2. *Nothing is emptied by what is empty.* A primary that came back with less than a replica of its shard has is not
//!    opened: the replica that has most is named in its place.
//! 3. *Once.* What must be done once (to create, to name a primary) is a create or a compare-and-set of the store's; all
//!    else may be done twice.

use std::fmt;

use crate::resource::{Instance, Managed, ObjectRef, Resource};
use crate::runtime::{Change, Start, Stop, Target};
use crate::world::World;

mod deletion;
mod leadership;
mod membership;
mod placing;
mod processes;
mod proxies;
mod report;
mod starting;
#[cfg(test)]
mod tests;

/// What can be done now, in the order in which it is to be tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps; a step's number is its place, from 1.
    pub steps: Vec<Planned>,
}

/// A step and its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What it is about.
    pub about: ObjectRef,
    /// What is done.
    pub step: Step,
    /// What is done and why, in one sentence.
    pub why: String,
}

/// One thing that is done, and may be refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Keep a new object; one that is there already is left.
    Create(Box<Instance>),
    /// Put an object in the place of the one that was looked at; refused if somebody changed it since.
    Write(Box<Resource>),
    /// Ask that an object go; refused if somebody changed it since.
    Delete(Box<Resource>),
    /// Have a process be started.
    Start(Box<Start>),
    /// Have a process be ended.
    Stop {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// How.
        stop: Stop,
    },
    /// Tell one life of a process something.
    Tell {
        /// Which.
        target: Target,
        /// What.
        change: Change,
    },
}

impl Plan {
    fn push(&mut self, about: ObjectRef, step: Step, why: impl Into<String>) {
        self.steps.push(Planned { about, step, why: why.into() });
    }
}

/// What can be done now to bring the world to what should be; nothing, if it is so.
#[must_use]
pub fn plan(world: &World) -> Plan {
    let mut plan = Plan::default();
    let unplaced = placing::plan(world, &mut plan);
    for service in world.services() {
        let is_kept = service.managed() == Managed::Shoal && !deletion::plan(world, service, &mut plan);
        if is_kept && membership::hold(service, &mut plan) {
            let leadership = leadership::plan(world, service, &mut plan);
            membership::plan(world, service, &leadership, &mut plan);
            processes::plan(world, service, &leadership, &mut plan);
            proxies::plan(world, service, &leadership, &mut plan);
            report::plan(world, service, leadership, &unplaced, &mut plan);
        }
    }
    plan
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = self.steps.iter().enumerate();
        steps.try_for_each(|(at, planned)| writeln!(f, "{:>3}. {}", at + 1, planned.why))
    }
}
