//! One object, and any object.

use super::{Event, EventSpec, Instance, InstanceSpec, Metadata, Node, NodeSpec, ObjectRef};
use super::{Pool, PoolSpec, Standalone, StandaloneSpec, Tenant, TenantSpec};
use crate::Error;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shoal_topology::nearest;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// The group and version of all kinds.
pub const API_VERSION: &str = "shoal.dev/v1alpha1";

/// What an object of some kind should be.
pub trait Spec: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema {
    /// The kind.
    const KIND: Kind;
    /// What is known of an object of that kind.
    type Status: Clone + fmt::Debug + PartialEq + Default + Serialize + DeserializeOwned + JsonSchema;
}

/// What should be and what is, of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, bound(serialize = "S: Spec", deserialize = "S: Spec"))]
#[schemars(bound = "S: Spec", rename = "{S}Object")]
pub struct Object<S: Spec> {
    /// `shoal.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// The kind's name.
    pub kind: KindOf<S>,
    /// Its name, and what the platform notes.
    pub metadata: Metadata,
    /// What should be.
    pub spec: S,
    /// What is. Written by the platform alone.
    #[serde(default)]
    pub status: S::Status,
}

impl<S: Spec> Object<S> {
    /// One that is to be created, with nothing known of it.
    #[must_use]
    pub fn new(name: impl Into<String>, spec: S) -> Self {
        Object {
            api_version: ApiVersion::V1Alpha1,
            kind: KindOf(PhantomData),
            metadata: Metadata::named(name),
            spec,
            status: S::Status::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// What names this object and no later one.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef { kind: S::KIND, name: self.metadata.name.clone(), uid: self.metadata.uid.clone() }
    }
}

/// The versions of the resources; there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[default]
    #[serde(rename = "shoal.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of `Object<S>`, as a field that can hold nothing else.
pub struct KindOf<S>(PhantomData<fn() -> S>);

impl<S> Clone for KindOf<S> {
    fn clone(&self) -> Self {
        KindOf(PhantomData)
    }
}

impl<S> PartialEq for KindOf<S> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<S: Spec> fmt::Debug for KindOf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        S::KIND.fmt(f)
    }
}

impl<S: Spec> Serialize for KindOf<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        S::KIND.serialize(serializer)
    }
}

impl<'de, S: Spec> Deserialize<'de> for KindOf<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Kind::deserialize(deserializer)? {
            kind if kind == S::KIND => Ok(KindOf(PhantomData)),
            kind => Err(D::Error::custom(format!("this is a {kind}, not a {}", S::KIND))),
        }
    }
}

impl<S: Spec> JsonSchema for KindOf<S> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}Kind", S::KIND).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "const": S::KIND.name() })
    }
}

/// The status of a kind of which nothing is known but what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoStatus {}

/// Writes `Kind` and `Resource` from one table, so that a kind cannot be forgotten in one of their methods.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $spec:ident, $plural:literal;)+) => {
        /// The kinds of objects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),+];

            /// Its name, as in `kind: Pool`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$kind => stringify!($kind)),+ }
            }

            /// Its name for many, in small letters, as in `shoal get pools`.
            #[must_use]
            pub const fn plural(self) -> &'static str {
                match self { $(Kind::$kind => $plural),+ }
            }
        }

        /// An object of any kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Resource {
            $($(#[$doc])* $kind($kind),)+
        }

        impl Resource {
            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Resource::$kind(_) => Kind::$kind),+ }
            }

            /// What it says of itself.
            #[must_use]
            pub const fn metadata(&self) -> &Metadata {
                match self { $(Resource::$kind(object) => &object.metadata),+ }
            }

            /// What it says of itself, to be changed.
            pub const fn metadata_mut(&mut self) -> &mut Metadata {
                match self { $(Resource::$kind(object) => &mut object.metadata),+ }
            }

            /// Whether both are of one kind and should be the same.
            #[must_use]
            pub fn has_spec_of(&self, other: &Resource) -> bool {
                match (self, other) {
                    $((Resource::$kind(one), Resource::$kind(other)) => one.spec == other.spec,)+
                    _ => false,
                }
            }

            /// Takes over what is known from another object of its kind; that of another kind is left.
            pub fn take_status_of(&mut self, other: &Resource) {
                match (self, other) {
                    $((Resource::$kind(one), Resource::$kind(other)) => one.status = other.status.clone(),)+
                    _ => {}
                }
            }

            /// Forgets what is known.
            pub fn clear_status(&mut self) {
                match self { $(Resource::$kind(object) => object.status = Default::default()),+ }
            }

            /// Reads one of a kind that is known, from anything that serde reads.
            ///
            /// # Errors
            /// The reader's own.
            pub fn deserialize_as<'de, D: Deserializer<'de>>(kind: Kind, from: D) -> Result<Self, D::Error> {
                match kind { $(Kind::$kind => Object::<$spec>::deserialize(from).map(Resource::$kind)),+ }
            }

            /// The schema of one kind.
            pub(super) fn schema_of(kind: Kind, generator: &mut SchemaGenerator) -> Schema {
                match kind { $(Kind::$kind => Object::<$spec>::json_schema(generator)),+ }
            }
        }

        impl Serialize for Resource {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Resource::$kind(object) => object.serialize(serializer)),+ }
            }
        }

        $(
            impl From<Object<$spec>> for Resource {
                fn from(object: Object<$spec>) -> Self {
                    Resource::$kind(object)
                }
            }

            impl<'a> TryFrom<&'a Resource> for &'a Object<$spec> {
                type Error = &'a Resource;

                /// # Errors
                /// The object itself, if it is of another kind.
                fn try_from(resource: &'a Resource) -> Result<Self, &'a Resource> {
                    match resource {
                        Resource::$kind(object) => Ok(object),
                        other => Err(other),
                    }
                }
            }

            impl TryFrom<Resource> for Object<$spec> {
                type Error = Resource;

                /// # Errors
                /// The object itself, if it is of another kind.
                fn try_from(resource: Resource) -> Result<Self, Resource> {
                    match resource {
                        Resource::$kind(object) => Ok(object),
                        other => Err(other),
                    }
                }
            }
        )+
    };
}

kinds! {
    /// One machine that runs instances.
    Node, NodeSpec, "nodes";
    /// Who owns standalones and pools, and how much they may ask for.
    Tenant, TenantSpec, "tenants";
    /// One primary with its replicas.
    Standalone, StandaloneSpec, "standalones";
    /// Shards behind proxies.
    Pool, PoolSpec, "pools";
    /// One process.
    Instance, InstanceSpec, "instances";
    /// What happened to an object.
    Event, EventSpec, "events";
}

impl Resource {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata().name
    }

    /// What names this object and no later one.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        let metadata = self.metadata();
        ObjectRef { kind: self.kind(), name: metadata.name.clone(), uid: metadata.uid.clone() }
    }

    /// The tenant it counts for; none for nodes, tenants and events.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Resource::Standalone(standalone) => Some(&standalone.spec.tenant),
            Resource::Pool(pool) => Some(&pool.spec.tenant),
            Resource::Instance(instance) => Some(&instance.spec.tenant),
            Resource::Node(_) | Resource::Tenant(_) | Resource::Event(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Resource {
    /// From a reader that can hold a value, such as JSON's; [`from_yaml`](crate::resource::from_yaml) says more of errors.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let kind = value
            .get("kind")
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| D::Error::missing_field("kind"))?;
        let kind = kind.parse().map_err(D::Error::custom)?;
        Resource::deserialize_as(kind, value).map_err(D::Error::custom)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    /// Exactly as `kind:` has it; [`Kind::from_word`] is for the command line.
    ///
    /// # Errors
    /// [`Error::Kind`] with the nearest.
    fn from_str(text: &str) -> Result<Self, Error> {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let found = Kind::ALL.iter().copied().find(|kind| kind.name() == text);
        found.ok_or_else(|| Error::Kind {
            given: text.to_owned(),
            hint: match nearest(text, &names) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("there are {}", names.join(", ")),
            },
        })
    }
}

impl Kind {
    /// As people type it: `pool`, `Pool`, `pools`.
    ///
    /// # Errors
    /// [`Error::Kind`] with the nearest.
    pub fn from_word(word: &str) -> Result<Self, Error> {
        let lower = word.to_lowercase();
        let is = |kind: &Kind| kind.plural() == lower || kind.name().to_lowercase() == lower;
        match Kind::ALL.iter().copied().find(is) {
            Some(kind) => Ok(kind),
            None => word.parse(),
        }
    }
}
