//! Who is each shard's primary, and what its Redis are told.
//!
//! ```text
//!   nobody was named yet            ──▶ name the first that runs: no shard has data before its first primary
//!   the named one runs              ──▶ make it primary, open it; the others follow it, and open when they have its data
//!   it came back with less          ──▶ end it: a replica of the shard has more
//!   it ended                        ──▶ a replica has what it will not bring back? name that one : start it again
//!   it does not answer              ──▶ nothing: it may run and serve
//! ```
//!
//! To name is to write the service's status by compare-and-set ([`report`](super::report)); to act on a name is another pass's.

use std::net::SocketAddr;
use std::time::Duration;

use shoal_topology::Endpoint;

use super::{Plan, Step};
use crate::resource::{Persistence, Primary, Program, ShardStatus};
use crate::runtime::{Change, Data, Gate, Link, Phase, RedisSays, Role, Stop, Target};
use crate::service::Service;
use crate::world::{Seen, World};

/// Restarts in vain after which nobody waits for a log of writes any more.
const RESTARTS_IN_VAIN: u32 = 3;

/// What was found out about a service's shards.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// The shards with those named that should be named.
    pub shards: Vec<ShardStatus>,
    /// Where each shard's primary is, whether it serves or not; none while another is being named.
    pub addresses: Vec<Option<SocketAddr>>,
    /// Whether each shard's primary serves.
    pub serving: Vec<bool>,
    /// Who is named anew, and why, in a sentence each.
    pub named: Vec<String>,
}

impl Leadership {
    /// The number of the layout that the named primaries make: it grows whenever another is named. None until each shard
    /// has had one.
    pub fn epoch(&self) -> Option<u64> {
        let all = !self.shards.is_empty() && self.shards.iter().all(|shard| shard.primary.is_some());
        all.then(|| self.shards.iter().map(|shard| shard.epoch).sum())
    }
}

/// Plans what the Redis of a service are told, and who is to be named.
pub(super) fn plan(world: &World, service: &Service, plan: &mut Plan) -> Leadership {
    let mut leadership = Leadership::default();
    let mut members: Vec<Vec<Seen<'_>>> = vec![Vec::new(); usize::from(service.shards())];
    for seen in world.instances_of(&service.owner()).filter(|seen| seen.object.spec.program == Program::Redis)
    {
        let shard = seen.object.spec.shard.map(usize::from);
        if let Some(shard) = shard.and_then(|shard| members.get_mut(shard)) {
            shard.push(seen);
        }
    }
    for (index, members) in (0..).zip(&members) {
        let stored = service.status().shards.get(usize::from(index)).cloned();
        let stored = stored
            .unwrap_or_else(|| ShardStatus { name: service.shard_name(index), ..ShardStatus::default() });
        let shard = Shard { world, members, stored: &stored };
        match shard.successor() {
            Some((next, why)) => {
                let primary = Primary { name: next.name().to_owned(), uid: next.object.metadata.uid.clone() };
                let epoch = stored.epoch + 1;
                leadership.named.push(why);
                leadership.shards.push(ShardStatus { primary: Some(primary), epoch, ..stored.clone() });
                leadership.addresses.push(None);
                leadership.serving.push(false);
            }
            None => {
                leadership.addresses.push(shard.named().and_then(|named| named.process?.address));
                leadership.serving.push(shard.lead(plan).is_some());
                leadership.shards.push(stored.clone());
            }
        }
    }
    leadership
}

struct Shard<'a> {
    world: &'a World,
    members: &'a [Seen<'a>],
    stored: &'a ShardStatus,
}

impl<'a> Shard<'a> {
    /// The one that is named.
    fn named(&self) -> Option<Seen<'a>> {
        let primary = self.stored.primary.as_ref()?;
        let is_it = |seen: &&Seen<'_>| seen.name() == primary.name && seen.object.metadata.uid == primary.uid;
        self.members.iter().find(is_it).copied()
    }

    /// Who is to be named in place of the one that is, and why.
    fn successor(&self) -> Option<(Seen<'a>, String)> {
        let Some(primary) = &self.stored.primary else { return self.first() };
        let Some(named) = self.named() else {
            // Its object is gone, and so, by its finalizer, is its process.
            let Some((next, _)) = self.fullest(None) else { return self.first() };
            let why =
                format!("name {} the primary of {}: {} is gone", next.name(), self.stored.name, primary.name);
            return Some((next, why));
        };
        if !named.is_gone() {
            return None;
        }
        let (next, has) = self.fullest(Some(named))?;
        let exit = match named.process.map(|process| &process.phase) {
            Some(Phase::Ended(exit)) => Some(exit),
            _ => None,
        };
        // A log of writes comes back with all but the last second; a snapshot does not. One that was asked to end came back
        // with too little.
        let comes_back_whole = named.object.spec.persistence == Persistence::Aof
            && exit.is_some_and(|exit| !exit.asked && exit.unasked_in_a_row < RESTARTS_IN_VAIN);
        let (name, shard) = (next.name(), &self.stored.name);
        let why = format!(
            "name {name} the primary of {shard}: {} has ended, and it has {} keys",
            named.name(),
            has.keys
        );
        (!comes_back_whole).then_some((next, why))
    }

    /// Whether the named one is closed after a restart and has less than a replica has: then it must not be opened, and
    /// must end before another is named. (Were it only left closed, an order to open it that is still on its way could make
    /// it a second primary; an order is for one life.)
    fn came_back_with_less(&self, named: Seen<'a>, says: &RedisSays) -> bool {
        says.gate == Gate::Closed
            && self.fullest(Some(named)).is_some_and(|(_, replica)| lacks(says, replica))
    }

    /// Whether a replica is on its way of which nobody knows yet what it has: where all of a shard starts again at once, the
    /// primary's data may be the older. One that does not come up, or whose node is down, is not waited for.
    fn others_may_come(&self) -> bool {
        let mut others = self.members.iter().filter(|seen| !self.is_hopeless(seen));
        others.any(|seen| match seen.process.map(|process| &process.phase) {
            None | Some(Phase::Starting) => true,
            Some(Phase::Ended(exit)) => exit.unasked_in_a_row < RESTARTS_IN_VAIN,
            Some(Phase::Running) => seen.redis().is_none_or(|says| says.loading),
            Some(Phase::Stopping | Phase::Unreachable { .. }) => false,
        })
    }

    /// Whether nobody can say when it will serve.
    fn is_hopeless(&self, seen: &Seen<'_>) -> bool {
        let node = seen.object.spec.node.as_deref();
        seen.object.metadata.is_deleted() || node.is_none_or(|node| self.world.node_down(node).is_some())
    }

    /// Before there is a primary there is no data: the first that can serve is as good as any. One that may still come
    /// is waited for, so that the lowest ordinal is named where nothing is wrong.
    fn first(&self) -> Option<(Seen<'a>, String)> {
        let next = *self.members.iter().find(|seen| !self.is_hopeless(seen))?;
        next.redis().filter(|says| !says.loading)?;
        Some((next, format!("name {} the first primary of {}", next.name(), self.stored.name)))
    }

    /// The replica that has most of the data; none where none has had any, or has followed in its present life.
    fn fullest(&self, but: Option<Seen<'a>>) -> Option<(Seen<'a>, &'a RedisSays)> {
        let is_other = |seen: &&Seen<'a>| but.is_none_or(|but| but.name() != seen.name());
        let others = self.members.iter().filter(is_other);
        let whole = others.filter(|seen| !seen.object.metadata.is_deleted()).filter_map(|seen| {
            let says = seen.redis().filter(|says| !says.loading && (has_data(says) || has_followed(says)))?;
            Some((*seen, says))
        });
        whole.max_by_key(|(_, says)| says.offset)
    }

    /// Tells the shard's Redis what follows from who is named; where the primary serves comes back.
    fn lead(&self, plan: &mut Plan) -> Option<SocketAddr> {
        let named = self.named();
        let mut others =
            self.members.iter().filter(|seen| named.is_none_or(|named| named.name() != seen.name()));
        let mut usurped = false;
        for seen in others.clone() {
            if let Some(says) = seen.redis()
                && says.gate == Gate::Open
                && matches!(says.role, Role::Primary { .. })
            {
                usurped = true;
                let why = format!(
                    "close {}: it takes writes, and is not the primary of {}",
                    seen.name(),
                    self.stored.name
                );
                tell(*seen, says, Change::Close, why, plan);
            }
        }
        let named = named?;
        let address = named.process?.address?;
        let says = named.redis().filter(|says| !says.loading)?;
        if usurped {
            return None;
        }
        let name = named.name();
        if self.came_back_with_less(named, says) {
            let why =
                format!("end {name}: it came back with less than a replica of {} has", self.stored.name);
            let stop = Stop { grace: Duration::ZERO, data: Data::Keep };
            let uid = named.object.metadata.uid.0.clone();
            plan.push(named.reference(), Step::Stop { name: name.to_owned(), uid, stop }, why);
            return None;
        }
        if let Role::Replica { .. } = says.role {
            tell(
                named,
                says,
                Change::Primary,
                format!("make {name} the primary of {}", self.stored.name),
                plan,
            );
            return None;
        }
        set_memory(named, says, plan);
        if says.gate == Gate::Closed && self.others_may_come() {
            return None;
        }
        if says.gate == Gate::Closed {
            tell(
                named,
                says,
                Change::Open,
                format!("open {name}: it is the primary of {}", self.stored.name),
                plan,
            );
            return None;
        }
        others.by_ref().for_each(|seen| follow(*seen, name, address, plan));
        Some(address)
    }
}

/// A replica follows the primary, and lets in who reads once it has its data.
fn follow(seen: Seen<'_>, primary: &str, address: SocketAddr, plan: &mut Plan) {
    let Some(says) = seen.redis().filter(|says| !says.loading) else { return };
    let name = seen.name();
    let follows = match &says.role {
        Role::Replica { of, link } if *of == endpoint(address) => Some(*link),
        _ => None,
    };
    set_memory(seen, says, plan);
    match (follows, says.gate) {
        (None, _) => {
            let why = format!("have {name} copy from {primary}, the primary");
            tell(seen, says, Change::ReplicaOf(endpoint(address)), why, plan);
        }
        (Some(Link::Up), Gate::Closed) => {
            tell(
                seen,
                says,
                Change::Open,
                format!("open {name} for readers: it has what {primary} has"),
                plan,
            );
        }
        (Some(_), _) => {}
    }
}

fn set_memory(seen: Seen<'_>, says: &RedisSays, plan: &mut Plan) {
    let wanted = seen.object.spec.memory;
    if wanted.0 != says.maxmemory {
        let why = format!("let {} take {wanted} of memory", seen.name());
        tell(seen, says, Change::MaxMemory(wanted.0), why, plan);
    }
}

fn tell(seen: Seen<'_>, says: &RedisSays, change: Change, why: String, plan: &mut Plan) {
    let uid = seen.object.metadata.uid.0.clone();
    let target = Target { name: seen.name().to_owned(), uid, life: says.life.clone() };
    plan.push(seen.reference(), Step::Tell { target, change }, why);
}

/// As the others know it.
pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::Tcp { host: address.ip().to_string(), port: address.port() }
}

/// Whether it ever had data, be it that all of it was deleted since.
fn has_data(says: &RedisSays) -> bool {
    says.keys > 0 || says.offset > 0
}

/// Whether it is a replica that readers were let into: it had all that its primary had, which may have been nothing.
fn has_followed(says: &RedisSays) -> bool {
    says.gate == Gate::Open && matches!(says.role, Role::Replica { .. })
}

/// Whether who came back has less than a replica. Histories' offsets go on over a restart where the data came from a
/// snapshot; a log of writes keeps no offset, so there the keys must do.
fn lacks(back: &RedisSays, replica: &RedisSays) -> bool {
    if back.offset > 0 { back.offset < replica.offset } else { back.keys == 0 && has_data(replica) }
}
