//! Resources: what is declared and what is known of it, in Kubernetes' shape.
//!
//! ```text
//!   Object<Spec>  { apiVersion, kind, metadata, spec: what should be, status: what is }
//!   Resource      any of them:  Node  Tenant  Standalone  Pool  Instance  Event
//! ```
//!
//! People write Node, Tenant, Standalone and Pool; Instance and Event are written by reconcilers alone. Nothing here
//! decides: defaults and checks are [`admission`](crate::admission)'s.

mod condition;
mod event;
mod instance;
mod metadata;
mod node;
mod object;
mod pool;
mod schema;
mod service;
mod standalone;
mod tenant;
mod yaml;

pub use condition::{Condition, READY};
pub use event::{EventSpec, EventType};
pub use instance::{InstancePhase, InstanceSpec, InstanceStatus, Owner, Program, Role};
pub use metadata::{Metadata, ObjectRef, Revision, Uid};
pub use node::{Allocated, NodeSpec, NodeStatus};
pub use object::{API_VERSION, ApiVersion, Kind, KindOf, NoStatus, Object, Resource, Spec};
pub use pool::{Durability, Ejection, ExistingPool, ExistingShard, PoolSpec, Proxies};
pub use schema::schema;
pub use service::{
    Credential, Eviction, ExistingSentinels, Managed, Persistence, Placement, Primary, ServiceStatus,
    ShardStatus, Sites, SloClass, StatusEndpoint, StatusEndpointRole,
};
pub use standalone::{ExistingStandalone, StandaloneSpec};
pub use tenant::{Bounds, Quota, TenantSpec, TenantStatus, Usage};
pub use yaml::{Declared, from_yaml, to_yaml};

/// One machine that runs instances.
pub type Node = Object<NodeSpec>;
/// Who owns standalones and pools, and how much they may ask for.
pub type Tenant = Object<TenantSpec>;
/// One primary with its replicas, to which clients speak themselves.
pub type Standalone = Object<StandaloneSpec>;
/// Shards behind proxies.
pub type Pool = Object<PoolSpec>;
/// One process: a redis-server, a redis-sentinel or a proxy.
pub type Instance = Object<InstanceSpec>;
/// What happened to an object, in one sentence.
pub type Event = Object<EventSpec>;
