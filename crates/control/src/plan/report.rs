//! What is known of a service and its instances is written down where it is another than it was.

use super::leadership::{self, Leadership};
use super::placing::Unplaced;
use super::{Plan, Step, starting};
use crate::quantity::Timestamp;
use crate::resource::{
    Condition, Credential, InstancePhase, InstanceStatus, Program, READY, Resource, Role as WantedRole,
    ServiceStatus, StatusEndpoint, StatusEndpointRole,
};
use crate::runtime::{Gate, Link, Observed, Phase, RedisSays, Role, Says, Silence};
use crate::service::Service;
use crate::world::{Seen, World};

/// Plans what is written down of a service: also who was named a shard's primary.
pub(super) fn plan(
    world: &World,
    service: &Service,
    leadership: Leadership,
    unplaced: &Unplaced,
    plan: &mut Plan,
) {
    for seen in world.instances_of(&service.owner()) {
        instance(world, seen, unplaced, plan);
    }
    let old = service.status();
    let missing = missing(world, service, &leadership, unplaced);
    let epoch = leadership.epoch().filter(|_| service.as_pool().is_some()).unwrap_or(old.epoch);
    let mut new = ServiceStatus {
        conditions: old.conditions.clone(),
        endpoints: endpoints(world, service, &leadership),
        credentials: vec![credential(service)],
        epoch,
        observed_generation: service.metadata().generation,
        shards: leadership.shards,
    };
    let generation = service.metadata().generation;
    let is_ready = missing.is_none();
    let (reason, message) =
        missing.unwrap_or_else(|| ("Serving", "everything runs, and all shards have a primary".to_owned()));
    Condition::set(&mut new.conditions, condition(world, is_ready, reason, message.clone(), generation));
    if new != *old {
        let why = match leadership.named.is_empty() {
            true => format!("note of {} {}: {message}", service.kind(), service.name()),
            false => leadership.named.join("; "),
        };
        let mut object = service.clone();
        *object.status_mut() = new;
        plan.push(service.reference(), Step::Write(Box::new(object.into_resource())), why);
    }
}

/// What keeps a service from being ready: a reason in a word, and a sentence.
fn missing(
    world: &World,
    service: &Service,
    leadership: &Leadership,
    unplaced: &Unplaced,
) -> Option<(&'static str, String)> {
    let mut running = 0;
    let mut first = None;
    for seen in world.instances_of(&service.owner()).filter(|seen| !seen.object.metadata.is_deleted()) {
        match trouble(world, seen, unplaced) {
            None => running += 1,
            Some((_, reason, message)) => {
                first = first.or(Some((reason, format!("{}: {message}", seen.name()))));
            }
        }
    }
    let wanted = u32::from(service.shards()) * u32::from(service.copies()) + u32::from(service.proxies());
    if let Some((reason, message)) = first {
        return Some((reason, format!("{running} of {wanted} instances are ready; {message}")));
    }
    if running < wanted {
        return Some((
            "Creating",
            format!("{running} of {wanted} instances are ready; the others are being created"),
        ));
    }
    let waiting = leadership.serving.iter().position(|serves| !serves);
    waiting.map(|shard| {
        ("NoPrimary", format!("shard {} has no primary that serves", leadership.shards[shard].name))
    })
}

/// What keeps an instance from doing its work: how far it is, a reason in a word, and a sentence.
fn trouble(
    world: &World,
    seen: Seen<'_>,
    unplaced: &Unplaced,
) -> Option<(InstancePhase, &'static str, String)> {
    let trouble = |phase, reason, message: &str| Some((phase, reason, message.to_owned()));
    let Some(node) = &seen.object.spec.node else {
        let why = unplaced.get(seen.name()).map_or("it is being placed", String::as_str);
        return trouble(InstancePhase::Pending, "Unplaced", why);
    };
    if let Some(other) = world.name_taken_by(seen.object) {
        let why = format!("an earlier process of its name (uid {}) is still there", other.uid);
        return trouble(InstancePhase::Pending, "NameTaken", &why);
    }
    if let Some(why) = world.node_down(node) {
        return trouble(InstancePhase::Unknown, "NodeDown", &format!("node {node} is down: {why}"));
    }
    let Some(Observed { phase, says, .. }) = seen.process else {
        return match world.refused_since(seen.object, Timestamp::default()) {
            Some(why) => trouble(InstancePhase::Pending, "Refused", why),
            None => trouble(InstancePhase::Pending, "Starting", "it is being started"),
        };
    };
    match phase {
        Phase::Starting => {
            trouble(InstancePhase::Starting, "Starting", "it was started and does not answer yet")
        }
        Phase::Stopping => trouble(InstancePhase::Stopping, "Stopping", "it was told to end"),
        Phase::Ended(exit) => match world.refused_since(seen.object, exit.at.into()) {
            Some(why) => trouble(InstancePhase::Failed, "Refused", why),
            None => trouble(InstancePhase::Failed, "Ended", &exit.reason),
        },
        Phase::Unreachable { .. } => trouble(InstancePhase::Unknown, "Unreachable", "it does not answer"),
        Phase::Running => match says {
            Says::Silent(Silence::WrongPassword) => {
                trouble(InstancePhase::Running, "WrongPassword", "it does not know the platform's password")
            }
            Says::Silent(silence) => {
                trouble(InstancePhase::Starting, "Silent", &format!("it does not answer ({silence:?})"))
            }
            Says::Redis(says) if says.loading => {
                trouble(InstancePhase::Running, "Loading", "it reads its data from disk")
            }
            Says::Redis(says) if says.gate == Gate::Closed => {
                trouble(InstancePhase::Running, "Closed", "it runs, and nobody may enter yet")
            }
            Says::Redis(says) => match &says.role {
                Role::Replica { link: Link::Up, .. } | Role::Primary { .. } => None,
                Role::Replica { .. } => {
                    trouble(InstancePhase::Running, "Copying", "it copies its primary's data")
                }
            },
            Says::Proxy(_) | Says::Sentinel(_) => None,
        },
    }
}

/// Writes down what is known of an instance.
fn instance(world: &World, seen: Seen<'_>, unplaced: &Unplaced, plan: &mut Plan) {
    let (object, old) = (seen.object, &seen.object.status);
    let is_being_changed = object.spec.node.is_none() && !unplaced.contains_key(seen.name());
    if is_being_changed || object.metadata.is_deleted() {
        return;
    }
    let trouble = trouble(world, seen, unplaced);
    let says = seen.redis();
    let mut new = InstanceStatus {
        phase: trouble.as_ref().map_or(InstancePhase::Running, |(phase, ..)| *phase),
        address: seen.process.and_then(|process| process.address).map(leadership::endpoint),
        run_id: says.map(|says| says.life.0.clone()),
        role: says.map(|says| match says.role {
            Role::Primary { .. } => WantedRole::Primary,
            Role::Replica { .. } => WantedRole::Replica,
        }),
        restarts: old.restarts,
        conditions: old.conditions.clone(),
        observed_generation: object.metadata.generation,
    };
    if old.phase != InstancePhase::Failed && new.phase == InstancePhase::Failed {
        new.restarts += 1;
    }
    let is_ready = trouble.is_none();
    let (reason, message) = match trouble {
        Some((_, reason, message)) => (reason, message),
        None => ("Running", format!("it does its work as {}", object.spec.program.name())),
    };
    Condition::set(
        &mut new.conditions,
        condition(world, is_ready, reason, message.clone(), object.metadata.generation),
    );
    if new != *old {
        let mut changed = object.clone();
        changed.status = new;
        let why = format!("note of {}: {message}", seen.name());
        plan.push(seen.reference(), Step::Write(Box::new(Resource::Instance(changed))), why);
    }
}

fn condition(world: &World, status: bool, reason: &str, message: String, generation: u64) -> Condition {
    Condition {
        kind: READY.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        last_transition_time: Some(world.now),
        observed_generation: generation,
    }
}

/// Where clients find it: the proxies of a pool; the primary of a standalone, and its replicas.
fn endpoints(world: &World, service: &Service, leadership: &Leadership) -> Vec<StatusEndpoint> {
    let mut endpoints = Vec::new();
    let mut add =
        |role, address| endpoints.push(StatusEndpoint { role, address: leadership::endpoint(address) });
    if service.as_pool().is_none()
        && let (Some(true), Some(Some(primary))) = (leadership.serving.first(), leadership.addresses.first())
    {
        add(StatusEndpointRole::Primary, *primary);
    }
    for seen in world.instances_of(&service.owner()) {
        let Some(Observed { phase: Phase::Running, address: Some(address), says, .. }) = seen.process else {
            continue;
        };
        match (seen.object.spec.program, says) {
            (Program::Proxy, Says::Proxy(_)) => add(StatusEndpointRole::Proxy, *address),
            (Program::Redis, Says::Redis(says)) if service.as_pool().is_none() && lets_readers_in(says) => {
                add(StatusEndpointRole::Readers, *address);
            }
            _ => {}
        }
    }
    endpoints
}

fn lets_readers_in(says: &RedisSays) -> bool {
    says.gate == Gate::Open && matches!(says.role, Role::Replica { link: Link::Up, .. })
}

fn credential(service: &Service) -> Credential {
    let user = starting::tenant(service);
    Credential { user: user.name, name: user.credential }
}
