//! What is asked for, read from a request.

use super::Denied;
use crate::resource::{Kind, ObjectRef, Revision, Uid};
use shoal_telemetry::http::{Method, Query, Request};
use std::time::Duration;

/// The longest that a watch waits for something to happen.
pub const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// What a watch waits where nobody says.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most lines of an instance's log that are given at a time.
pub const LINES_MAX: usize = 10_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Whether control runs; of nobody in particular.
    Health,
    /// The kinds as JSON Schema.
    Schema,
    /// This interface, as OpenAPI.
    OpenApi,
    /// All objects of a kind.
    List {
        /// The kind.
        kind: Kind,
        /// Only events about that object.
        regarding: Option<ObjectRef>,
    },
    /// What happened to the objects of a kind since.
    Watch {
        /// The kind.
        kind: Kind,
        /// From a list, or an earlier watch.
        from: Revision,
        /// How long to wait for something.
        patience: Duration,
    },
    /// One object.
    Get {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// That an object be so.
    Apply {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// The declaration: YAML or JSON.
        body: String,
        /// Say what would be, and change nothing.
        dry_run: bool,
    },
    /// That an object go.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Only if it is still that.
        revision: Option<Revision>,
        /// Say what would be, and change nothing.
        dry_run: bool,
    },
    /// The last lines that an instance wrote.
    Logs {
        /// Its name.
        instance: String,
        /// How many.
        lines: usize,
    },
    /// Which tokens there are; not the tokens.
    Tokens,
    /// A new token for a tenant.
    CreateToken {
        /// The token's name.
        name: String,
        /// Whose.
        tenant: String,
    },
    /// That a token be worth nothing.
    RevokeToken {
        /// The token's name.
        name: String,
    },
    /// A copy of the whole store.
    Backup,
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it, and what there is.
    pub fn read(request: &Request) -> Result<Self, Denied> {
        let mut query = Query::parse(&request.query).map_err(Denied::bad)?;
        let segments: Vec<&str> = request.path.split('/').skip(1).collect();
        let named = |name: &str| name.to_owned();
        let (call, known): (Call, &[&str]) = match (request.method, segments.as_slice()) {
            (Method::Get, ["healthz"]) => (Call::Health, &[]),
            (Method::Get, ["v1", "schema"]) => (Call::Schema, &[]),
            (Method::Get, ["v1", "openapi.json"]) => (Call::OpenApi, &[]),
            (Method::Get, ["v1", "tokens"]) => (Call::Tokens, &[]),
            (Method::Put, ["v1", "tokens", name]) => {
                let tenant = query.text("tenant").ok_or_else(|| Denied::bad("say whose: ?tenant=NAME"))?;
                (Call::CreateToken { name: named(name), tenant }, &["tenant"])
            }
            (Method::Delete, ["v1", "tokens", name]) => (Call::RevokeToken { name: named(name) }, &[]),
            (Method::Get, ["v1", "store", "backup"]) => (Call::Backup, &[]),
            (Method::Get, ["v1", "instances", name, "logs"]) => {
                let lines = query.number("lines").map_err(Denied::bad)?.unwrap_or(100).min(LINES_MAX);
                (Call::Logs { instance: named(name), lines }, &["lines"])
            }
            (Method::Get, ["v1", kind]) => of_kind(kind_of(kind)?, &mut query)?,
            (Method::Get, ["v1", kind, name]) => (Call::Get { kind: kind_of(kind)?, name: named(name) }, &[]),
            (Method::Put, ["v1", kind, name]) => {
                let dry_run = dry_run(&mut query)?;
                let body = String::from_utf8(request.body.clone())
                    .map_err(|_| Denied::bad("the body is not UTF-8"))?;
                (Call::Apply { kind: kind_of(kind)?, name: named(name), body, dry_run }, &["dryRun"])
            }
            (Method::Delete, ["v1", kind, name]) => {
                let dry_run = dry_run(&mut query)?;
                let revision = query.text("revision").map(Revision);
                let call = Call::Delete { kind: kind_of(kind)?, name: named(name), revision, dry_run };
                (call, &["revision", "dryRun"])
            }
            (method, ["v1", kind] | ["v1", kind, _]) => {
                kind_of(kind)?;
                let message = format!(
                    "{method} is not answered there: GET lists and gets, PUT /v1/{kind}/NAME applies, DELETE /v1/{kind}/NAME deletes"
                );
                return Err(Denied::new(405, "MethodNotAllowed", message));
            }
            _ => {
                let message = format!("there is nothing at {}: see /v1/openapi.json", request.path);
                return Err(Denied::new(404, "NotFound", message));
            }
        };
        query.finish(known).map_err(Denied::bad)?;
        Ok(call)
    }

    /// Whether something may be another afterwards.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        match self {
            Call::Apply { dry_run, .. } | Call::Delete { dry_run, .. } => !*dry_run,
            Call::CreateToken { .. } | Call::RevokeToken { .. } => true,
            _ => false,
        }
    }
}

fn of_kind(kind: Kind, query: &mut Query) -> Result<(Call, &'static [&'static str]), Denied> {
    if let Some(from) = query.text("watch") {
        let seconds = query.number("timeout").map_err(Denied::bad)?;
        let patience = seconds.map_or(PATIENCE, Duration::from_secs).min(PATIENCE_MAX);
        return Ok((Call::Watch { kind, from: Revision(from), patience }, &["watch", "timeout"]));
    }
    let regarding = match query.text("regarding") {
        None => None,
        Some(_) if kind != Kind::Event => return Err(Denied::bad("regarding= is for events alone")),
        Some(text) => {
            let (kind, name) = text.split_once('/').ok_or_else(|| {
                Denied::bad(format!("regarding={text}: write KIND/NAME, such as Pool/demo"))
            })?;
            Some(ObjectRef { kind: Kind::from_word(kind)?, name: name.to_owned(), uid: Uid::default() })
        }
    };
    Ok((Call::List { kind, regarding }, &["watch", "timeout", "regarding"]))
}

fn dry_run(query: &mut Query) -> Result<bool, Denied> {
    Ok(query.yes_or_no("dryRun").map_err(Denied::bad)?.unwrap_or(false))
}

fn kind_of(word: &str) -> Result<Kind, Denied> {
    Kind::from_word(word).map_err(|error| Denied { status: 404, code: "NotFound", ..Denied::from(error) })
}
