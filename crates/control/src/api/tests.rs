//! The interface with a store in memory and a runtime that runs nothing.

use super::*;
use crate::quantity::{Bytes, Cores};
use crate::resource::{
    Bounds, Event, EventSpec, EventType, Kind, Node, NodeSpec, ObjectRef, Pool, PoolSpec, Resource, Revision,
    Standalone, StandaloneSpec, Tenant, TenantSpec, Uid,
};
use crate::runtime::Refused;
use crate::runtime::model::Model;
use crate::store::Memory;
use serde_json::Value;
use shoal_telemetry::http::{Method, Request};
use shoal_topology::Mode;

struct World {
    store: Memory,
    model: Model,
}

/// Every instance has written one line.
struct OneLine;

impl Logs for OneLine {
    fn log(&self, name: &str, _lines: usize) -> Result<Vec<String>, Refused> {
        Ok(vec![format!("{name} is ready")])
    }
}

fn operator() -> Caller {
    Caller { token: "operator".to_owned(), role: Role::Operator }
}

fn viewer() -> Caller {
    Caller { token: "viewer".to_owned(), role: Role::Viewer }
}

fn of_tenant(tenant: &str) -> Caller {
    Caller { token: format!("{tenant}-app"), role: Role::Tenant(tenant.to_owned()) }
}

impl World {
    /// Two tenants with a pool each, `feed` and `chat`, and three nodes.
    fn new() -> Self {
        let world = World { store: Memory::new(), model: Model::new(1, 0) };
        for name in ["feed", "chat"] {
            let mut spec = TenantSpec::default();
            spec.quota.memory = Bounds { min: None, max: Some(Bytes::gib(16)) };
            world.store.create(Tenant::new(name, spec).into()).unwrap();
            world.ask(&operator(), "PUT", &format!("/v1/pools/{name}"), &pool(name, name, 2)).done();
        }
        for at in 1..=3 {
            let spec = NodeSpec {
                address: format!("127.0.1.{at}"),
                site: "local".to_owned(),
                zone: None,
                rack: None,
                node_group: None,
                memory: Bytes::gib(16),
                cores: Cores::whole(8),
                cost: 0,
                unschedulable: false,
            };
            world.store.create(Node::new(format!("n{at}"), spec).into()).unwrap();
        }
        world
    }

    fn ask(&self, caller: &Caller, method: &str, target: &str, body: &str) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request {
            method: match method {
                "GET" => Method::Get,
                "PUT" => Method::Put,
                "DELETE" => Method::Delete,
                _ => Method::Post,
            },
            path: path.to_owned(),
            query: query.to_owned(),
            host: None,
            has_origin: false,
            authorization: None,
            body: body.as_bytes().to_vec(),
        };
        let around = Surroundings {
            store: &self.store,
            runtime: &self.model,
            logs: &OneLine,
            now: Timestamp(1_000),
            request: "run-1",
        };
        match Call::read(&request) {
            Ok(call) => handle(caller, &call, &around),
            Err(denied) => denied.into(),
        }
    }

    fn get(&self, caller: &Caller, target: &str) -> Answer {
        self.ask(caller, "GET", target, "")
    }

    fn names(&self, caller: &Caller, kind: &str) -> Vec<String> {
        let listed = self.get(caller, &format!("/v1/{kind}")).done();
        listed["items"].as_array().unwrap().iter().map(name_of).collect()
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

impl Answer {
    #[track_caller]
    fn done(self) -> Value {
        assert!(self.status < 300, "{} {}", self.status, self.body);
        self.body
    }

    /// What is said, if it is refused with that status.
    #[track_caller]
    fn denied(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        self.body["error"]["message"].as_str().expect("an error has a message").to_owned()
    }
}

fn pool(name: &str, tenant: &str, shards: u16) -> String {
    let mut spec = PoolSpec::of(Mode::Storage, shards, Bytes::gib(1));
    spec.tenant = tenant.to_owned();
    json!(Pool::new(name, spec)).to_string()
}

#[test]
fn an_object_is_created_once_changed_and_deleted() {
    let world = World::new();
    let spec = StandaloneSpec::of(Bytes::mib(64));
    let text = json!(Standalone::new("solo", spec)).to_string();
    let made = world.ask(&operator(), "PUT", "/v1/standalones/solo", &text);
    assert_eq!((made.status, &made.body["verb"]), (201, &json!("created")));
    assert_eq!(made.body["object"]["spec"]["replicas"], 1, "defaults are written down");
    let again = world.ask(&operator(), "PUT", "/v1/standalones/solo", &text).done();
    assert_eq!(again["verb"], "unchanged");
    let more = text.replace("64MiB", "128MiB");
    let changed = world.ask(&operator(), "PUT", "/v1/standalones/solo", &more);
    assert_eq!((changed.status, &changed.body["verb"]), (200, &json!("configured")));
    assert_eq!(changed.body["object"]["metadata"]["generation"], 2);
    assert_eq!(world.get(&viewer(), "/v1/standalones/solo").done()["spec"]["memory"], "128MiB");
    assert_eq!(world.ask(&operator(), "DELETE", "/v1/standalones/solo", "").done()["verb"], "deleted");
    let gone = world.get(&operator(), "/v1/standalones/solo").denied(404);
    assert_eq!(gone, "there is no Standalone solo");
}

#[test]
fn who_has_seen_another_revision_is_told() {
    let world = World::new();
    let seen = world.get(&operator(), "/v1/pools/feed").done();
    let mut theirs = seen.clone();
    theirs["spec"]["memory"] = json!("2GiB");
    world.ask(&operator(), "PUT", "/v1/pools/feed", &theirs.to_string()).done();
    let mut mine = seen.clone();
    mine["spec"]["memory"] = json!("3GiB");
    let said = world.ask(&operator(), "PUT", "/v1/pools/feed", &mine.to_string()).denied(409);
    assert!(said.contains("was changed by somebody else meanwhile"), "{said}");
    let revision = seen["metadata"]["revision"].as_str().unwrap();
    world.ask(&operator(), "DELETE", &format!("/v1/pools/feed?revision={revision}"), "").denied(409);
    // Who names none wants it so, whoever was there before.
    mine["metadata"].as_object_mut().unwrap().remove("revision");
    assert_eq!(
        world.ask(&operator(), "PUT", "/v1/pools/feed", &mine.to_string()).done()["verb"],
        "configured"
    );
}

#[test]
fn a_viewer_changes_nothing() {
    let world = World::new();
    for (method, target) in [
        ("PUT", "/v1/pools/feed"),
        ("DELETE", "/v1/pools/feed"),
        ("DELETE", "/v1/nodes/n1"),
        ("GET", "/v1/tokens"),
        ("PUT", "/v1/tokens/a?tenant=feed"),
        ("GET", "/v1/store/backup"),
    ] {
        let answer = world.ask(&viewer(), method, target, &pool("feed", "feed", 2));
        let said = answer.denied(403);
        assert_eq!(said, "the token viewer is a viewer's and changes nothing: use an operator's");
    }
    world.ask(&viewer(), "DELETE", "/v1/pools/feed?dryRun=yes", "").done();
    assert_eq!(world.names(&viewer(), "pools"), ["chat", "feed"]);
    assert_eq!(world.names(&viewer(), "nodes"), ["n1", "n2", "n3"]);
}

/// Events about both tenants' pools, one about a pool that is gone, and one about a node.
fn note(world: &World) {
    let uid = |name: &str| world.store.get(Kind::Pool, name).unwrap().unwrap().metadata().uid.clone();
    let abouts = [
        (Kind::Pool, "feed", uid("feed")),
        (Kind::Pool, "chat", uid("chat")),
        (Kind::Pool, "feed", Uid("earlier".to_owned())),
        (Kind::Node, "n1", Uid::default()),
    ];
    for (at, (kind, name, uid)) in abouts.into_iter().enumerate() {
        let spec = EventSpec {
            regarding: ObjectRef { kind, name: name.to_owned(), uid },
            kind: EventType::Normal,
            reason: "Placed".to_owned(),
            message: "it was placed".to_owned(),
            count: 1,
            first_timestamp: Timestamp(1),
            last_timestamp: Timestamp(1),
        };
        world.store.create(Event::new(format!("e{at}"), spec).into()).unwrap();
    }
}

#[test]
fn a_tenant_sees_its_own_and_nothing_else() {
    let world = World::new();
    note(&world);
    let feed = of_tenant("feed");
    assert_eq!(world.names(&feed, "pools"), ["feed"]);
    assert_eq!(world.names(&feed, "standalones"), [""; 0]);
    assert_eq!(world.names(&feed, "tenants"), ["feed"]);
    assert_eq!(world.names(&feed, "events"), ["e0"]);
    assert_eq!(world.names(&operator(), "events").len(), 4);
    assert_eq!(
        world.get(&viewer(), "/v1/events?regarding=pool/chat").done()["items"].as_array().unwrap().len(),
        1
    );
    // What is another's is answered as what is not there.
    let theirs = world.get(&feed, "/v1/pools/chat").denied(404).replace("chat", "NAME");
    let nobodys = world.get(&feed, "/v1/pools/none").denied(404).replace("none", "NAME");
    assert_eq!(
        (theirs.as_str(), nobodys.as_str()),
        ("there is no Pool NAME of tenant feed", theirs.as_str())
    );
    world.ask(&feed, "DELETE", "/v1/pools/chat", "").denied(404);
    world.ask(&feed, "DELETE", "/v1/pools/chat?dryRun=yes", "").denied(404);
    world.get(&feed, "/v1/tenants/chat").denied(404);
    world.get(&feed, "/v1/instances/chat-s0-r0/logs").denied(404);
    for target in ["/v1/nodes", "/v1/nodes/n1", "/v1/nodes?watch=memory-1"] {
        let said = world.get(&feed, target).denied(403);
        assert_eq!(said, "the token feed-app is of tenant feed and sees no nodes: ask an operator");
    }
    world.get(&feed, "/v1/tokens").denied(403);
    world.get(&feed, "/v1/store/backup").denied(403);
    assert_eq!(world.names(&operator(), "pools"), ["chat", "feed"], "nothing was changed");
}

#[test]
fn a_tenant_changes_its_own_and_nothing_else() {
    let world = World::new();
    let feed = of_tenant("feed");
    world.ask(&feed, "PUT", "/v1/pools/more", &pool("more", "feed", 1)).done();
    world.ask(&feed, "DELETE", "/v1/pools/more", "").done();
    // Declared for another, or for nobody in particular; of a name that another has; what is not a tenant's at all.
    for tenant in ["chat", "default"] {
        let said = world.ask(&feed, "PUT", "/v1/pools/new", &pool("new", tenant, 1)).denied(403);
        assert!(said.ends_with("write spec.tenant: feed"), "{said}");
    }
    let before = world.get(&operator(), "/v1/pools/chat").done();
    for target in ["/v1/pools/chat", "/v1/pools/chat?dryRun=yes"] {
        let said = world.ask(&feed, "PUT", target, &pool("chat", "feed", 1)).denied(403);
        assert_eq!(said, "the name of Pool chat is taken: choose another");
    }
    assert_eq!(world.get(&operator(), "/v1/pools/chat").done(), before);
    let tenant = json!(Tenant::new("feed", TenantSpec::default())).to_string();
    let said = world.ask(&feed, "PUT", "/v1/tenants/feed", &tenant).denied(403);
    assert!(said.contains("changes no tenants"), "{said}");
    world.ask(&feed, "DELETE", "/v1/nodes/n1", "").denied(403);
}

#[test]
fn a_watch_shows_a_tenant_its_own() {
    let world = World::new();
    let from = world.get(&operator(), "/v1/pools").done()["revision"].as_str().unwrap().to_owned();
    let watch = format!("/v1/pools?watch={from}");
    assert!(world.get(&viewer(), &watch).quiet_since.is_some());
    world.ask(&operator(), "PUT", "/v1/pools/chat2", &pool("chat2", "chat", 1)).done();
    let feeds = world.get(&of_tenant("feed"), &watch);
    assert_eq!(feeds.body["changes"], json!([]));
    let Some(on) = feeds.quiet_since else { panic!("it goes on") };
    assert_ne!(on, Revision(from));
    let chats = world.get(&of_tenant("chat"), &watch);
    assert_eq!((name_of(&chats.body["changes"][0]["object"]).as_str(), chats.quiet_since), ("chat2", None));
    let said = world.get(&viewer(), "/v1/pools?watch=other-1").denied(410);
    assert!(said.contains("list pools again"), "{said}");
}

#[test]
fn a_dry_run_tells_the_steps_and_changes_nothing() {
    let world = World::new();
    let new = pool("new", "feed", 2);
    let told = world.ask(&operator(), "PUT", "/v1/pools/new?dryRun=yes", &new).done();
    assert_eq!((&told["verb"], &told["old"]), (&json!("created"), &Value::Null));
    assert_eq!(told["new"]["spec"]["replicas"], 1);
    let steps: Vec<String> = told["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["why"].as_str().unwrap().to_owned())
        .collect();
    for about in ["new-s0-r0", "new-s1-r1"] {
        assert!(steps.iter().any(|why| why.contains(about)), "{about} in {steps:#?}");
    }
    for of in ["create new-s0-r0", "place new-s0-r0", "start new-s0-r0 on n"] {
        assert_eq!(steps.iter().filter(|why| why.starts_with(of)).count(), 1, "{of} in {steps:#?}");
    }
    let is_others = |why: &&String| why.contains("chat") || why.contains("feed");
    assert_eq!(steps.iter().find(is_others), None, "what others wait for is none of it");
    world.get(&operator(), "/v1/pools/new").denied(404);
    assert_eq!(world.names(&operator(), "instances"), [""; 0]);

    let more = world.get(&operator(), "/v1/pools/feed").done();
    let mut grown = more.clone();
    grown["spec"]["memory"] = json!("2GiB");
    let told = world.ask(&viewer(), "PUT", "/v1/pools/feed?dryRun=yes", &grown.to_string()).done();
    assert_eq!((&told["verb"], &told["old"]["spec"]["memory"]), (&json!("configured"), &json!("1GiB")));
    assert_eq!(told["new"]["spec"]["memory"], "2GiB");
    let same = world.ask(&operator(), "PUT", "/v1/pools/feed?dryRun=yes", &more.to_string()).done();
    assert_eq!((&same["verb"], &same["steps"]), (&json!("unchanged"), &json!([])));
    let gone = world.ask(&operator(), "DELETE", "/v1/pools/feed?dryRun=yes", "").done();
    assert_eq!((&gone["verb"], &gone["new"]), (&json!("deleted"), &Value::Null));
    assert_eq!(world.get(&operator(), "/v1/pools/feed").done(), more);
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let world = World::new();
    let good = pool("feed", "feed", 2);
    let put = |target: &str, body: &str| world.ask(&operator(), "PUT", target, body);
    let said = put("/v1/pools/feed", &good.replace("\"memory\"", "\"memroy\"")).denied(400);
    assert!(said.contains("unknown field `memroy`") && said.contains("did you mean `memory`?"), "{said}");
    let said = put("/v1/pool/feed", &good.replace("1GiB", "12PiB")).denied(400);
    assert!(said.contains("spec.memory: \"12PiB\" is no amount of memory"), "{said}");
    let over = put("/v1/pools/big", &pool("big", "feed", 40));
    let said = over.denied(422);
    assert!(said.contains("tenant feed") && said.contains("16GiB"), "{said}");
    assert!(!over.body["error"]["reasons"].as_array().unwrap().is_empty());
    assert!(put("/v1/pools/other", &good).denied(400).contains("the path names Pool/other"));
    assert!(put("/v1/poools/feed", &good).denied(404).contains("there is no kind"));
    assert!(put("/v1/pools/feed?dryrun=yes", &good).denied(400).contains("dryrun"));
    assert!(put("/v1/instances/x", "").denied(400).contains("one object"));
    assert!(world.get(&operator(), "/v2/pools").denied(404).contains("openapi.json"));
    assert!(world.ask(&operator(), "POST", "/v1/pools", "").denied(405).contains("PUT /v1/pools/NAME"));
    assert!(world.get(&operator(), "/v1/pools?regarding=Pool/demo").denied(400).contains("events alone"));
}

#[test]
fn each_change_and_each_attempt_is_written_down_once() {
    let world = World::new();
    let line = |answer: Answer| answer.audit.map(|line| serde_json::to_value(line).unwrap());
    assert_eq!(line(world.get(&operator(), "/v1/pools")), None);
    assert_eq!(line(world.ask(&operator(), "PUT", "/v1/pools/a?dryRun=yes", &pool("a", "feed", 1))), None);
    let made = line(world.ask(&operator(), "PUT", "/v1/pools/a", &pool("a", "feed", 1))).unwrap();
    let expected = json!({
        "time": Timestamp(1_000), "request": "run-1", "token": "operator", "role": "operator",
        "verb": "apply", "object": "Pool/a", "status": 201, "result": "created",
    });
    assert_eq!(made, expected);
    let refused = line(world.ask(&of_tenant("feed"), "DELETE", "/v1/pools/chat", "")).unwrap();
    assert_eq!((&refused["role"], &refused["tenant"]), (&json!("tenant"), &json!("feed")));
    assert_eq!(
        (&refused["status"], &refused["result"]),
        (&json!(404), &json!("there is no Pool chat of tenant feed"))
    );
}

#[test]
fn of_a_token_its_hash_alone_is_kept() {
    let secret = crate::credentials::Password::of_chance([7; 32]);
    let other = crate::credentials::Password::of_chance([8; 32]);
    let mut tokens = Tokens::default();
    tokens.create(&viewer(), ("app", "feed"), &secret, Timestamp(1)).unwrap_err();
    let made = tokens.create(&operator(), ("app", "feed"), &secret, Timestamp(1)).unwrap();
    assert_eq!(made.body["token"], secret.reveal());
    tokens.create(&operator(), ("app", "chat"), &other, Timestamp(1)).unwrap_err();
    tokens.create(&operator(), ("../app", "chat"), &other, Timestamp(1)).unwrap_err();
    let kept = serde_json::to_string(&tokens).unwrap();
    assert!(!kept.contains(secret.reveal()), "{kept}");
    let mut read: Tokens = serde_json::from_str(&kept).unwrap();
    let caller = read.caller(secret.reveal()).unwrap();
    assert_eq!((caller.token.as_str(), caller.tenant()), ("app", Some("feed")));
    for wrong in [other.reveal(), "", "a", &secret.reveal()[..63], &kept] {
        assert_eq!(read.caller(wrong), None, "{wrong}");
    }
    assert!(!read.list(&operator()).unwrap().body.to_string().contains(&secret.sha256()));
    read.revoke(&operator(), "nobody").unwrap_err();
    read.revoke(&operator(), "app").unwrap();
    assert_eq!(read.caller(secret.reveal()), None);
}

#[test]
fn the_document_describes_what_is_answered() {
    let document = openapi();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut references = 0;
    let mut look = vec![&document];
    while let Some(value) = look.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                    let name = to.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{to}"));
                    assert!(schemas.contains_key(name), "{to}");
                    references += 1;
                }
                look.extend(fields.values());
            }
            Value::Array(items) => look.extend(items),
            _ => {}
        }
    }
    assert!(references > 20, "{references}");
    // Every path is answered by something else than "there is nothing".
    let world = World::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let answer = world.ask(&operator(), &method.to_uppercase(), &path.replace("{name}", "some"), "");
            let said = answer.body["error"]["message"].as_str().unwrap_or_default();
            assert!(!said.contains("there is nothing at") && answer.status != 405, "{method} {path}: {said}");
        }
    }
}

#[test]
fn resources_of_all_kinds_go_through_json() {
    let world = World::new();
    for kind in Kind::ALL {
        let listed = world.get(&operator(), &format!("/v1/{}", kind.plural())).done();
        for item in listed["items"].as_array().unwrap() {
            let read: Resource = serde_json::from_value(item.clone()).unwrap();
            assert_eq!(read.kind(), *kind);
        }
    }
}
