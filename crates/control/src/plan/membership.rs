//! Which instances there should be: what is missing is created, what is too much goes, what is asked otherwise is changed.

use super::leadership::Leadership;
use super::{Plan, Step, deletion};
use crate::resource::{Instance, InstanceSpec, Program, Resource};
use crate::service::Service;
use crate::world::{Seen, World};

/// Whether a service cannot go before its processes; if it can, that is mended first.
pub(super) fn hold(service: &Service, plan: &mut Plan) -> bool {
    if service.metadata().finalizers.iter().any(|finalizer| finalizer == deletion::FINALIZER) {
        return true;
    }
    let mut held = service.clone();
    held.metadata_mut().finalizers.push(deletion::FINALIZER.to_owned());
    let why = format!("hold {} {} until its processes are gone", service.kind(), service.name());
    plan.push(service.reference(), Step::Write(Box::new(held.into_resource())), why);
    false
}

/// Plans the instances of a service.
pub(super) fn plan(world: &World, service: &Service, leadership: &Leadership, plan: &mut Plan) {
    let all: Vec<Seen<'_>> = world.instances_of(&service.owner()).collect();
    for shard in 0..service.shards() {
        let primary =
            service.status().shards.get(usize::from(shard)).and_then(|shard| shard.primary.as_ref());
        let members = all.iter().filter(|seen| {
            seen.object.spec.program == Program::Redis && seen.object.spec.shard == Some(shard)
        });
        // A shard in trouble loses no copy: the one that is too much may be the one with the data.
        let serves = leadership.serving.get(usize::from(shard)).is_some_and(|serves| *serves);
        let stays = |seen: &Seen<'_>| match primary {
            Some(primary) if serves => primary.name == seen.name(),
            _ => seen.process.is_some(),
        };
        let group = Group { world, service, wanted: service.copies() };
        group.plan(members, stays, |ordinal| Some(service.redis_instance(shard, ordinal)), plan);
    }
    let proxies = all.iter().filter(|seen| seen.object.spec.program == Program::Proxy);
    let group = Group { world, service, wanted: service.proxies() };
    group.plan(proxies, |_| false, |ordinal| service.proxy_instance(ordinal), plan);
}

/// Instances that are alike but for their ordinal.
struct Group<'a> {
    world: &'a World,
    service: &'a Service,
    /// How many there should be.
    wanted: u16,
}

impl Group<'_> {
    fn plan<'s>(
        &self,
        members: impl Iterator<Item = &'s Seen<'s>>,
        stays: impl Fn(&Seen<'_>) -> bool,
        make: impl Fn(u16) -> Option<InstanceSpec>,
        plan: &mut Plan,
    ) {
        let (going, mut staying): (Vec<Seen<'_>>, Vec<Seen<'_>>) =
            members.copied().partition(|seen| seen.object.metadata.is_deleted());
        let about = format!("{} {}", self.service.kind(), self.service.name());
        for seen in &going {
            deletion::retire(self.world, *seen, &format!("{about} needs it no more"), plan);
        }
        staying.sort_by_key(|seen| (!stays(seen), seen.object.spec.ordinal));
        while staying.len() > usize::from(self.wanted) {
            let Some(seen) = staying.pop_if(|seen| !stays(seen)) else { break };
            deletion::retire(self.world, seen, &format!("{about} needs it no more"), plan);
        }
        for seen in &staying {
            if let Some(wanted) = make(seen.object.spec.ordinal) {
                self.change(*seen, wanted, plan);
            }
        }
        // A name is free only when its last bearer is gone: one that is going keeps its ordinal.
        let is_taken =
            |ordinal: u16| going.iter().chain(&staying).any(|seen| seen.object.spec.ordinal == ordinal);
        let missing = usize::from(self.wanted).saturating_sub(staying.len());
        for ordinal in (0..u16::MAX).filter(|ordinal| !is_taken(*ordinal)).take(missing) {
            if let Some(spec) = make(ordinal) {
                self.create(spec, plan);
            }
        }
    }

    fn create(&self, spec: InstanceSpec, plan: &mut Plan) {
        let mut instance = Instance::new(spec.name(), spec);
        instance.metadata.finalizers.push(deletion::FINALIZER.to_owned());
        instance.metadata.owner_reference = Some(self.service.reference());
        let why = format!("create {}, {}", instance.name(), purpose(self.service, &instance.spec));
        plan.push(self.service.reference(), Step::Create(Box::new(instance)), why);
    }

    /// What is asked otherwise than it was. Its node stays its own: [`placing`](super::placing) moves nothing.
    fn change(&self, seen: Seen<'_>, wanted: InstanceSpec, plan: &mut Plan) {
        let (old, name) = (&seen.object.spec, seen.name());
        let mut new =
            InstanceSpec { node: old.node.clone(), role: old.role, adopted: old.adopted.clone(), ..wanted };
        if new == *old {
            return;
        }
        // More than its node has free is not promised; the report tells what is missing.
        let free = old.node.as_deref().and_then(|node| self.world.free(node));
        let more = (new.memory.0 + new.reserve.0).saturating_sub(old.memory.0 + old.reserve.0);
        if free.is_some_and(|free| more > free.memory.0) {
            (new.memory, new.reserve) = (old.memory, old.reserve);
        }
        if free.is_some_and(|free| new.cores.0.saturating_sub(old.cores.0) > free.cores.0) {
            new.cores = old.cores;
        }
        if new != *old {
            let mut object = seen.object.clone();
            object.spec = new;
            let why = format!("change {name} as {} {} asks", self.service.kind(), self.service.name());
            plan.push(seen.reference(), Step::Write(Box::new(Resource::Instance(object))), why);
        }
    }
}

fn purpose(service: &Service, spec: &InstanceSpec) -> String {
    match spec.shard {
        Some(shard) => {
            format!("a copy of shard {} of {} {}", service.shard_name(shard), service.kind(), service.name())
        }
        None => format!("a {} of {} {}", spec.program.name(), service.kind(), service.name()),
    }
}
