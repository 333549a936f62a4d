//! The proxy's JSON as tables.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::columns::Table;

/// Pools and their shards.
pub fn topology(body: &Value) -> String {
    let mut out = format!(
        "shoal {}, {} workers, up for {}\n",
        text(&body["version"]),
        text(&body["workers"]),
        span(&body["uptime_us"])
    );
    for pool in rows(&body["pools"]) {
        let distribution = match &pool["distribution"] {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        };
        let timeout = match pool["timeout_ms"].as_u64() {
            Some(timeout) => format!("{timeout} ms"),
            None => "none".to_owned(),
        };
        out.push_str(&format!(
            "\npool {} ({}), {} {}, listens on {}, timeout {timeout}, ejections {}\n",
            text(&pool["name"]),
            text(&pool["mode"]),
            text(&pool["hash"]),
            distribution,
            text(&pool["listen"]),
            text(&pool["ejections"]),
        ));
        let mut table = Table::new(&["SHARD", "ENDPOINT", "WEIGHT", "STATE", "LAST FAILURE"]);
        for shard in rows(&pool["shards"]) {
            let state = match shard["out_for_us"].as_u64() {
                Some(0) => "ejected, to be probed".to_owned(),
                Some(_) => format!("ejected, for {}", span(&shard["out_for_us"])),
                None => text(&shard["state"]),
            };
            let failure = match &shard["last_failure"] {
                Value::Null => "-".to_owned(),
                failure => format!("{}, {}", text(&failure["kind"]), ago(&failure["at_unix_us"])),
            };
            table.row([
                text(&shard["name"]),
                text(&shard["endpoint"]),
                text(&shard["weight"]),
                state,
                failure,
            ]);
        }
        out.push_str(&table.finish());
    }
    out
}

/// Clients.
pub fn sessions(body: &Value) -> String {
    let mut table = Table::new(&[
        "ID", "PEER", "NAME", "POOL", "WORKER", "RESP", "AGE", "IDLE", "PENDING", "HELD", "IN", "OUT",
        "REQUESTS",
    ]);
    let all = rows(&body["sessions"]);
    for row in all {
        table.row([
            text(&row["id"]),
            text(&row["peer"]),
            text(&row["name"]),
            text(&row["pool"]),
            text(&row["worker"]),
            text(&row["protocol"]),
            span(&row["age_us"]),
            span(&row["idle_us"]),
            text(&row["outstanding"]),
            text(&row["held"]),
            text(&row["input_bytes"]),
            text(&row["output_bytes"]),
            text(&row["requests"]),
        ]);
    }
    let mut out = table.finish();
    let matching = body["matching"].as_u64().unwrap_or_default();
    if matching > all.len() as u64 {
        out.push_str(&format!("{} of {matching}; --all shows all\n", all.len()));
    }
    out
}

/// Connections to shards.
pub fn upstreams(body: &Value) -> String {
    let mut table = Table::new(&[
        "POOL",
        "SHARD",
        "ENDPOINT",
        "WORKER",
        "LANE",
        "RESP",
        "PHASE",
        "UNSENT",
        "UNANSWERED",
        "OLDEST",
        "HOLDING",
        "ATTEMPTS",
        "AGE",
    ]);
    for row in rows(&body["upstreams"]) {
        table.row([
            text(&row["pool"]),
            text(&row["shard"]),
            text(&row["endpoint"]),
            text(&row["worker"]),
            text(&row["lane"]),
            text(&row["protocol"]),
            text(&row["phase"]),
            text(&row["unsent"]),
            text(&row["unanswered"]),
            span(&row["oldest_us"]),
            text(&row["holding"]),
            text(&row["attempts"]),
            span(&row["age_us"]),
        ]);
    }
    let mut out = table.finish();
    if body["more"] == Value::Bool(true) {
        out.push_str("there are more; a larger --limit shows them\n");
    }
    out
}

/// Slow requests.
pub fn slow_log(body: &Value) -> String {
    let mut table = Table::new(&[
        "WHEN", "TOOK", "QUEUED", "SERVER", "POOL", "SHARD", "COMMAND", "KEY", "CLIENT", "NAME", "REQUEST",
        "REPLY", "OUTCOME",
    ]);
    for row in rows(&body["requests"]) {
        let key_bytes = row["key_bytes"].as_u64().unwrap_or_default();
        let key = match row["key"].as_str() {
            Some(key) if key_bytes > 128 => format!("{key}… ({key_bytes} bytes)"),
            _ => text(&row["key"]),
        };
        table.row([
            ago(&row["at_unix_us"]),
            span(&row["duration_us"]),
            span(&row["queued_us"]),
            span(&row["server_us"]),
            text(&row["pool"]),
            text(&row["shard"]),
            text(&row["command"]),
            key,
            text(&row["client"]["peer"]),
            text(&row["client"]["name"]),
            text(&row["request_bytes"]),
            text(&row["reply_bytes"]),
            text(&row["outcome"]),
        ]);
    }
    table.finish()
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value without quotes; `-` for what is not there.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // What a client chose must not move the cursor.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        other => other.to_string(),
    }
}

/// Microseconds as a person reads them.
fn span(value: &Value) -> String {
    let Some(us) = value.as_u64() else { return "-".to_owned() };
    let seconds = us / 1_000_000;
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{}.{}ms", us / 1_000, us % 1_000 / 100),
        1_000_000..60_000_000 => format!("{}.{}s", seconds, us % 1_000_000 / 100_000),
        60_000_000..3_600_000_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600_000_000..86_400_000_000 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn ago(value: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    match value.as_u64() {
        Some(at) => format!("{} ago", span(&now.saturating_sub(at).into())),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_short() {
        let cases = [
            (7u64, "7us"),
            (12_345, "12.3ms"),
            (59_999_999, "59.9s"),
            (61_000_000, "1m01s"),
            (3_660_000_000, "1h01m"),
            (90_000_000_000, "1d01h"),
        ];
        for (us, shown) in cases {
            assert_eq!(span(&json!(us)), shown);
        }
        assert_eq!(span(&Value::Null), "-");
    }

    #[test]
    fn what_is_missing_is_a_dash_and_control_characters_do_nothing() {
        let row = json!({"id": 3, "peer": "a\u{1b}[2J", "name": "", "held": null});
        let out = sessions(&json!({"sessions": [row], "matching": 5}));
        assert!(out.contains("a?[2J  -"), "{out}");
        assert!(out.ends_with("1 of 5; --all shows all\n"), "{out}");
    }
}
