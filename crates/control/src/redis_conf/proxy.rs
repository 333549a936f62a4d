//! `proxy.yml`, as JSON (which is YAML), so that no name is read otherwise than it was meant.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::runtime::{Access, ProxyStart, User};

/// The files that a proxy reads and makes, by paths that it can open.
#[derive(Clone, Debug)]
pub struct ProxyFiles {
    /// The admin port: a unix socket.
    pub admin: String,
    /// The folder of credentials.
    pub credentials: String,
}

/// The configuration of a proxy that serves one pool. It holds no password, but the names of files that do.
#[must_use]
pub fn proxy_yml(start: &ProxyStart, users: &[User], listen: SocketAddr, files: &ProxyFiles) -> String {
    // What the topology says of a pool stands in the same words in proxy.yml.
    let said = serde_json::to_value(&start.pool).unwrap_or_default();
    let mut pool = Map::new();
    pool.insert("name".to_owned(), json!(start.pool.name));
    pool.insert("mode".to_owned(), said["mode"].clone());
    pool.insert("listen".to_owned(), json!(listen.to_string()));
    let redis_shard = said["distribution"].is_object();
    if !redis_shard {
        pool.insert("hash".to_owned(), said["hash"].clone());
        pool.insert("char".to_owned(), said["char_sign"].clone());
    }
    pool.insert("distribution".to_owned(), said["distribution"].clone());
    if let Some(tag) = said.get("hash_tag").filter(|tag| !tag.is_null()) {
        pool.insert("hash_tag".to_owned(), tag.clone());
    }
    if let Some(timeout) = start.timeout_ms {
        pool.insert("timeout".to_owned(), json!(timeout));
    }
    let password_file = |user: &User| json!(format!("{}/{}", files.credentials, user.credential));
    if let Some(user) = &start.upstream {
        pool.insert(
            "server_auth".to_owned(),
            json!({"user": user.name, "password_file": password_file(user)}),
        );
    }
    let tenants = users.iter().filter(|user| user.access == Access::Tenant);
    let tenants: Vec<Value> = tenants
        .map(|user| json!({"name": user.name, "rules": "on ~* &* +@all", "password_file": password_file(user)}))
        .collect();
    if !tenants.is_empty() {
        pool.insert("users".to_owned(), Value::Array(tenants));
    }
    let servers: Vec<Value> = start
        .pool
        .shards
        .iter()
        .map(
            |shard| json!({"name": shard.name, "address": shard.primary.to_string(), "weight": shard.weight}),
        )
        .collect();
    pool.insert("servers".to_owned(), Value::Array(servers));
    let mut yml = Map::new();
    if let Some(workers) = start.workers {
        yml.insert("workers".to_owned(), json!(workers));
    }
    yml.insert("admin".to_owned(), json!(files.admin));
    yml.insert("pools".to_owned(), json!([pool]));
    let mut text = serde_json::to_string_pretty(&yml).unwrap_or_default();
    text.push('\n');
    text
}
