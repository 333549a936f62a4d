//! The interface as an OpenAPI document, told from the kinds and their types.

use crate::resource::{Kind, schema};
use serde_json::{Map, Value, json};

/// The document, of OpenAPI 3.1.
#[must_use]
pub fn openapi() -> Value {
    let mut schemas = schemas();
    schemas.insert("Error".to_owned(), error());
    let mut paths = Map::new();
    let mut add = |path: &str, what: Value| drop(paths.insert(path.to_owned(), what));
    add("/healthz", json!({ "get": plain("Whether control runs; needs no token") }));
    add("/v1/schema", json!({ "get": plain("The kinds as JSON Schema") }));
    add("/v1/openapi.json", json!({ "get": plain("This document") }));
    add("/v1/tokens", json!({ "get": plain("Which tokens there are; never the tokens") }));
    add(
        "/v1/tokens/{name}",
        json!({
            "parameters": [name()],
            "put": with(plain("A new token of a tenant; it stands in this answer alone"), &[text("tenant", "Whose")]),
            "delete": plain("Revoke a token"),
        }),
    );
    add("/v1/store/backup", json!({ "get": plain("A copy of the whole store, as a file of SQLite") }));
    add(
        "/v1/instances/{name}/logs",
        json!({
            "parameters": [name()],
            "get": with(plain("The last lines that an instance wrote"), &[text("lines", "How many; 100 by default")]),
        }),
    );
    for kind in Kind::ALL {
        let (list, one) = of_kind(*kind);
        add(&format!("/v1/{}", kind.plural()), list);
        add(&format!("/v1/{}/{{name}}", kind.plural()), one);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Shoal", "version": env!("CARGO_PKG_VERSION") },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas,
        },
    })
}

fn of_kind(kind: Kind) -> (Value, Value) {
    let reference = json!({ "$ref": format!("#/components/schemas/{kind}") });
    let listed = json!({
        "type": "object",
        "properties": {
            "revision": { "type": "string", "description": "From which to watch" },
            "items": { "type": "array", "items": reference },
        },
    });
    let queries = [
        text("watch", "A revision: answer what happened since, and wait for it"),
        text("timeout", "How many seconds a watch waits; 30 by default, at most 60"),
    ];
    let list =
        json!({ "get": with(answering(&format!("List or watch {}", kind.plural()), listed), &queries) });
    let mut one = json!({
        "parameters": [name()],
        "get": answering(&format!("Get one {kind}"), reference.clone()),
    });
    if !matches!(kind, Kind::Instance | Kind::Event) {
        let dry_run = text("dryRun", "yes: say what would be, and in which steps, and change nothing");
        let revision = text("revision", "Only if it is still that");
        let mut put = with(
            plain(&format!("That this {kind} be so, whether it is there or not")),
            std::slice::from_ref(&dry_run),
        );
        put["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": reference } } });
        one["put"] = put;
        one["delete"] = with(plain(&format!("That this {kind} go")), &[dry_run, revision]);
    }
    (list, one)
}

fn plain(summary: &str) -> Value {
    answering(summary, json!({ "type": "object" }))
}

fn answering(summary: &str, schema: Value) -> Value {
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let error = json!({ "$ref": "#/components/schemas/Error" });
    json!({
        "summary": summary,
        "responses": {
            "2XX": { "description": "Done", "content": content(schema) },
            "default": { "description": "Not done, and why", "content": content(error) },
        },
    })
}

fn with(mut operation: Value, parameters: &[Value]) -> Value {
    operation["parameters"] = parameters.into();
    operation
}

fn name() -> Value {
    json!({ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } })
}

fn text(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } })
}

fn error() -> Value {
    let string = |description: &str| json!({ "type": "string", "description": description });
    let remark = json!({
        "type": "object",
        "properties": { "path": string("The field"), "message": string("What is wrong, and what would be right") },
    });
    json!({
        "type": "object",
        "properties": {
            "requestId": string("As in the audit log"),
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": string("The reason in one word, for programs"),
                    "message": string("What is wrong, and what to do"),
                    "reasons": { "type": "array", "items": remark },
                },
            },
        },
    })
}

/// The kinds by their names, and what they refer to.
fn schemas() -> Map<String, Value> {
    let mut all = schema();
    moved(&mut all);
    let mut schemas = Map::new();
    if let Some(Value::Object(definitions)) = all.get_mut("$defs").map(Value::take) {
        schemas.extend(definitions);
    }
    if let Some(Value::Array(kinds)) = all.get_mut("oneOf").map(Value::take) {
        for kind in kinds {
            if let Some(title) = kind["title"].as_str().map(str::to_owned) {
                schemas.insert(title, kind);
            }
        }
    }
    schemas
}

/// References lead to where OpenAPI keeps its schemas.
fn moved(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(to) if name == "$ref" => {
                        *to = to.replace("#/$defs/", "#/components/schemas/")
                    }
                    other => moved(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(moved),
        _ => {}
    }
}
