//! Objects as text for people.

use serde_json::Value;
use shoal_control::resource::Kind;

use crate::columns::Table;

/// What became of a change: `Pool/demo created`.
pub fn done(about: &str, answer: &Value) -> String {
    format!("{about} {}\n", text(&answer["verb"]))
}

/// What a change would be: its fields line by line, and the steps that would follow.
pub fn preview(about: &str, answer: &Value) -> String {
    let mut out = match text(&answer["verb"]).as_str() {
        "unchanged" => return format!("{about} would stay as it is\n"),
        "configured" => format!("{about} would be changed\n"),
        verb => format!("{about} would be {verb}\n"),
    };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    fields("", &declared(&answer["old"]), &mut old);
    fields("", &declared(&answer["new"]), &mut new);
    for (path, value) in &old {
        if !new.iter().any(|(other, of)| other == path && of == value) {
            out.push_str(&format!("  - {path}: {value}\n"));
        }
    }
    for (path, value) in &new {
        if !old.iter().any(|(other, of)| other == path && of == value) {
            out.push_str(&format!("  + {path}: {value}\n"));
        }
    }
    let steps = rows(&answer["steps"]);
    if !steps.is_empty() {
        out.push_str("steps that would follow, as far as they can be told before anything runs:\n");
        for (at, step) in steps.iter().enumerate() {
            out.push_str(&format!("{:>4}. {}\n", at + 1, text(&step["why"])));
        }
    }
    out
}

/// What people declare of an object.
fn declared(object: &Value) -> Value {
    if object.is_null() {
        return Value::Null;
    }
    let metadata = &object["metadata"];
    serde_json::json!({
        "metadata": { "labels": metadata["labels"], "annotations": metadata["annotations"] },
        "spec": object["spec"],
    })
}

/// Each field with its path.
fn fields(path: &str, value: &Value, to: &mut Vec<(String, String)>) {
    let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Null => {}
        Value::Object(all) => all.iter().for_each(|(name, value)| fields(&under(name), value, to)),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(at, value)| fields(&format!("{path}[{at}]"), value, to));
        }
        other => to.push((path.to_owned(), text(other))),
    }
}

/// Objects of one kind in columns.
pub fn table(kind: Kind, objects: &[Value], wide: bool) -> String {
    match kind {
        Kind::Event => events(objects),
        Kind::Tenant => tenants(objects),
        _ => {
            let (headings, cells): (_, fn(&Value) -> [String; 4]) = match kind {
                Kind::Node => (["ADDRESS", "RACK", "MEMORY", "CORES"], node),
                Kind::Instance => (["OWNER", "ROLE", "NODE", "ADDRESS"], instance),
                Kind::Pool => (["TENANT", "MODE", "SIZE", "ENDPOINT"], pool),
                _ => (["TENANT", "COPIES", "MEMORY", "ENDPOINT"], standalone),
            };
            let [one, two, three, four] = headings;
            let mut table = Table::new(&["NAME", "READY", one, two, three, four, "WHY"]);
            for object in objects {
                let (ready, why) = ready(object);
                let why = if wide || ready != "yes" { why } else { String::new() };
                let [one, two, three, four] = cells(object);
                table.row([text(&object["metadata"]["name"]), ready, one, two, three, four, why]);
            }
            table.finish()
        }
    }
}

fn node(object: &Value) -> [String; 4] {
    let (spec, used) = (&object["spec"], &object["status"]["allocated"]);
    let of = |what: &str| format!("{} of {}", text(&used[what]), text(&spec[what]));
    let cordoned = if spec["unschedulable"] == true { " (cordoned)" } else { "" };
    [text(&spec["address"]) + cordoned, text(&spec["rack"]), of("memory"), of("cores")]
}

fn instance(object: &Value) -> [String; 4] {
    let (spec, status) = (&object["spec"], &object["status"]);
    let owner = format!("{}/{}", text(&spec["owner"]["kind"]), text(&spec["owner"]["name"]));
    let role = if status["role"].is_null() { &spec["program"] } else { &status["role"] };
    [owner, text(role), text(&spec["node"]), text(&status["address"])]
}

fn pool(object: &Value) -> [String; 4] {
    let spec = &object["spec"];
    let size = format!("{} x {}", text(&spec["shards"]), text(&spec["memory"]));
    [text(&spec["tenant"]), text(&spec["mode"]), size, endpoint(object)]
}

fn standalone(object: &Value) -> [String; 4] {
    let spec = &object["spec"];
    let copies =
        spec["replicas"].as_u64().map_or_else(|| "-".to_owned(), |replicas| (replicas + 1).to_string());
    [text(&spec["tenant"]), copies, text(&spec["memory"]), endpoint(object)]
}

/// Where clients go first; how many more there are.
fn endpoint(object: &Value) -> String {
    match rows(&object["status"]["endpoints"]) {
        [] => "-".to_owned(),
        [one] => text(&one["address"]),
        [one, more @ ..] => format!("{} +{}", text(&one["address"]), more.len()),
    }
}

/// Whether it is ready, and what is said of that.
pub fn ready(object: &Value) -> (String, String) {
    let conditions = rows(&object["status"]["conditions"]);
    match conditions.iter().find(|condition| condition["type"] == "Ready") {
        Some(ready) => {
            let word = if ready["status"] == true { "yes" } else { "no" };
            (word.to_owned(), text(&ready["message"]))
        }
        None => ("-".to_owned(), "nothing is known of it yet".to_owned()),
    }
}

fn tenants(objects: &[Value]) -> String {
    let mut table = Table::new(&["NAME", "PARENT", "MEMORY", "CORES", "INSTANCES", "REQUESTS/S"]);
    for object in objects {
        let of = |what: &str| {
            let used = &object["status"]["used"][what];
            match &object["spec"]["quota"][what]["max"] {
                Value::Null => text(used),
                max => format!("{} of {}", text(used), text(max)),
            }
        };
        let parent = text(&object["spec"]["parent"]);
        let name = text(&object["metadata"]["name"]);
        table.row([name, parent, of("memory"), of("cores"), of("instances"), of("requestsPerSecond")]);
    }
    table.finish()
}

/// Events in columns, the oldest first.
pub fn events(objects: &[Value]) -> String {
    let mut sorted: Vec<&Value> = objects.iter().collect();
    sorted.sort_by_key(|event| text(&event["spec"]["lastTimestamp"]));
    let mut table = Table::new(&["LAST", "TYPE", "REASON", "ABOUT", "TIMES", "WHAT HAPPENED"]);
    for event in sorted {
        let spec = &event["spec"];
        let about = format!("{}/{}", text(&spec["regarding"]["kind"]), text(&spec["regarding"]["name"]));
        table.row([
            text(&spec["lastTimestamp"]),
            text(&spec["type"]),
            text(&spec["reason"]),
            about,
            text(&spec["count"]),
            text(&spec["message"]),
        ]);
    }
    table.finish()
}

/// All that is known of an object, its instances, and what happened to it.
pub fn describe(kind: Kind, object: &Value, instances: &[Value], happened: &[Value]) -> String {
    let mut out = format!("{kind}/{}\n", text(&object["metadata"]["name"]));
    for part in ["metadata", "spec", "status"] {
        let mut all = Vec::new();
        fields("", &object[part], &mut all);
        // Those are said below, in sentences.
        all.retain(|(path, _)| !path.starts_with("conditions"));
        out.push_str(&format!("\n{part}\n"));
        for (path, value) in all {
            out.push_str(&format!("  {path}: {value}\n"));
        }
    }
    out.push_str("\nconditions\n");
    for condition in rows(&object["status"]["conditions"]) {
        let word = if condition["status"] == true { "yes" } else { "no" };
        let (kind, message) = (text(&condition["type"]), text(&condition["message"]));
        out.push_str(&format!("  {kind}: {word}, {message}\n"));
    }
    if !instances.is_empty() {
        out.push_str(&format!("\ninstances\n{}", table(Kind::Instance, instances, true)));
    }
    if !happened.is_empty() {
        out.push_str(&format!("\nevents\n{}", events(happened)));
    }
    out
}

/// An array's items; none of anything else.
pub fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as people write it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
