//! The platform as its user meets it: `shoal control` in one process, and the verbs that ask it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shoal_e2e::{Process, ShoalProxy, Workplace, startup, wait};

/// Ten times what it takes control to start or to end on a busy machine.
const CONTROL: Duration = Duration::from_secs(60);

/// A state directory below a workplace. All that was started there is killed at the end.
struct Platform {
    workplace: Workplace,
    dir: PathBuf,
    control: Option<Process>,
}

impl Platform {
    fn new() -> Self {
        let workplace = Workplace::new();
        let dir = workplace.path().canonicalize().expect("the workplace").join("state");
        let mut platform = Platform { workplace, dir, control: None };
        platform.begin();
        platform
    }

    /// Starts control, and waits until it says where it listens.
    #[track_caller]
    fn begin(&mut self) {
        let log = self.workplace.subdir("control").join("log");
        let args = ["control", "--dir", self.dir(), "--listen", "127.0.0.1:0"];
        let mut control = Process::start(&ShoalProxy::program(), &args, &log);
        wait::at_most(CONTROL, || {
            assert_eq!(control.ended(), None, "control ended: {}", control.log());
            control.log().contains("control serves").then_some(())
        })
        .unwrap_or_else(|| panic!("control does not serve: {}", control.log()));
        self.control = Some(control);
    }

    /// Ends control as Ctrl-C does.
    #[track_caller]
    fn end(&mut self) {
        let mut control = self.control.take().expect("a control");
        control.signal(Signal::INT);
        let ended = wait::at_most(CONTROL, || control.ended()).expect("control ends when it is asked to");
        assert_eq!(ended.code(), Some(0), "{}", control.log());
    }

    fn dir(&self) -> &str {
        self.dir.to_str().expect("UTF-8")
    }

    /// Runs a verb as the operator, unless `args` name another token.
    fn run(&self, args: &[&str]) -> Output {
        startup::run(&ShoalProxy::program(), &[args, &["--dir", self.dir()]].concat())
    }

    /// What a verb prints, which succeeds.
    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}{}", startup::errors(&output), self.said());
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(args)).expect("JSON")
    }

    /// What a verb complains of, which fails.
    #[track_caller]
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        startup::errors(&output)
    }

    /// What control said, and what happened, for the message of a test that fails.
    fn said(&self) -> String {
        let events = self.run(&["events"]);
        let log = self.control.as_ref().map(Process::log).unwrap_or_default();
        format!("\ncontrol:\n{log}\nevents:\n{}", String::from_utf8_lossy(&events.stdout))
    }

    /// Redis and proxies: those that run in a folder of an instance.
    fn processes(&self) -> Vec<i32> {
        let instances = self.dir.join("instances");
        let entries = std::fs::read_dir("/proc").expect("/proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let runs_here = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir.starts_with(&instances))
        };
        pids.filter(runs_here).collect()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // First, lest it starts again what is killed.
        self.control = None;
        for pid in self.processes() {
            if let Some(pid) = Pid::from_raw(pid) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_redis_is_declared_used_changed_and_deleted() {
    let mut platform = Platform::new();
    let (nodes, solo) = (example("nodes.yaml"), example("solo.yaml"));
    let told = platform.done(&["diff", "-f", &solo]);
    assert!(
        told.contains("Standalone/solo would be created") && told.contains("+ spec.memory: 64MiB"),
        "{told}"
    );
    assert_eq!(
        platform.done(&["apply", "-f", &nodes, "-f", &solo]),
        "Node/n1 created\nNode/n2 created\nNode/n3 created\nStandalone/solo created\n"
    );
    platform.done(&["wait", "standalone", "solo", "--timeout", "50s"]);
    assert!(platform.done(&["apply", "-f", &solo]).contains("Standalone/solo unchanged"));

    // It is used, and no password is anywhere but in its file.
    assert_eq!(platform.done_with(&["connect", "solo"], &["SET", "greeting", "hello"]), "OK\n");
    assert_eq!(platform.done_with(&["connect", "solo"], &["GET", "greeting"]), "hello\n");
    let said = platform.done_with(&["connect", "solo"], &["CONFIG", "GET", "maxmemory"]);
    assert!(said.contains("NOPERM"), "the tenant is no administrator: {said}");
    let table = platform.done(&["get", "standalones"]);
    assert!(table.starts_with("NAME  READY") && table.contains("solo  yes"), "{table}");
    let yaml = platform.done(&["get", "standalone", "solo", "-o", "yaml"]);
    let place = platform.workplace.write("solo.yaml", &yaml.replace("memory: 64MiB", "memory: 96MiB"));
    let changed = place.to_str().expect("UTF-8");
    let told = platform.done(&["apply", "--dry-run", "-f", changed]);
    assert!(told.contains("- spec.memory: 64MiB") && told.contains("+ spec.memory: 96MiB"), "{told}");
    assert!(told.contains("steps that would follow"), "{told}");
    let described = platform.done(&["describe", "standalone", "solo"]);
    for part in ["spec\n", "Ready: yes", "instances\n", "solo-r0", "events\n"] {
        assert!(described.contains(part), "{part} in {described}");
    }
    let credentials = platform.dir.join("credentials");
    for file in std::fs::read_dir(credentials).expect("credentials") {
        let secret = std::fs::read_to_string(file.expect("a file").path()).expect("a secret");
        let events = platform.done(&["events", "-o", "json"]);
        assert!(![&described, &yaml, &events].iter().any(|text| text.contains(secret.trim())));
    }
    assert!(!platform.done(&["logs", "solo-r0"]).is_empty());

    // Redis outlives control.
    let before = platform.processes();
    platform.end();
    assert_eq!(platform.processes(), before);
    assert!(platform.refused(&["get", "pools"]).contains("is `shoal control` running?"));
    platform.begin();
    platform.done(&["wait", "standalone", "solo", "--timeout", "50s"]);
    assert_eq!(platform.done_with(&["connect", "solo"], &["GET", "greeting"]), "hello\n");
    assert_eq!(platform.processes(), before);

    let holder = platform.json(&["get", "instance", "solo-r0", "-o", "json"]);
    let node = holder["spec"]["node"].as_str().expect("it is placed");
    assert!(platform.refused(&["delete", "node", node]).contains("solo-r"), "it is in use");
    platform.done(&["delete", "standalone", "solo", "--wait"]);
    assert!(platform.refused(&["get", "standalone", "solo"]).contains("there is no Standalone solo"));
    wait::at_most(CONTROL, || platform.processes().is_empty().then_some(())).expect("its processes are gone");
    platform.done(&["delete", "-f", &nodes]);
    assert_eq!(platform.json(&["get", "nodes", "-o", "json"]), serde_json::json!([]));
}

/// With that token.
fn with<'a>(args: &[&'a str], token: &'a str) -> Vec<&'a str> {
    [args, &["--token-file", token]].concat()
}

#[test]
fn who_may_what_is_kept() {
    let platform = Platform::new();
    platform.done(&["apply", "-f", &example("nodes.yaml"), "-f", &example("tenant.yaml")]);
    platform.done(&["node", "cordon", "n1"]);
    assert_eq!(platform.json(&["get", "node", "n1", "-o", "json"])["spec"]["unschedulable"], true);
    for node in ["n2", "n3"] {
        platform.done(&["node", "cordon", node]);
    }
    let pool = |name: &str, tenant: &str| {
        let text = std::fs::read_to_string(example("hot.yaml")).expect("the example");
        let text = text.replace("name: hot", &format!("name: {name}"));
        let text = text.replace("  mode: cache", &format!("  tenant: {tenant}\n  mode: cache"));
        platform.workplace.write("pool.yaml", &text).to_str().expect("UTF-8").to_owned()
    };
    platform.done(&["apply", "-f", &pool("theirs", "company")]);
    let token = platform.workplace.path().join("feed.token");
    let token = token.to_str().expect("UTF-8");
    platform.done(&["token", "create", "feed-ci", "--tenant", "feed", "--to", token]);

    // A tenant: its own, and nothing else.
    platform.done(&with(&["apply", "-f", &pool("mine", "feed")], token));
    let listed = platform.json(&with(&["get", "pools", "-o", "json"], token));
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    for (args, said) in [
        (vec!["get", "pool", "theirs"], "there is no Pool theirs of tenant feed"),
        (vec!["delete", "pool", "theirs"], "there is no Pool theirs of tenant feed"),
        (vec!["get", "nodes"], "sees no nodes"),
        (vec!["node", "uncordon", "n1"], "sees no nodes"),
        (vec!["token", "list"], "tokens and the store are the operator's"),
        (vec!["backup", "store", "--to", "stolen.db"], "tokens and the store are the operator's"),
    ] {
        let complaint = platform.refused(&with(&args, token));
        assert!(complaint.contains(said), "{args:?}: {complaint}");
    }
    let complaint = platform.refused(&with(&["apply", "-f", &pool("other", "company")], token));
    assert!(complaint.contains("write spec.tenant: feed"), "{complaint}");

    // A viewer, a token of nobody, none at all, one that was revoked.
    let viewer = platform.dir.join("tokens/viewer");
    let viewer = viewer.to_str().expect("UTF-8");
    platform.done(&["get", "nodes", "--token-file", viewer]);
    let complaint = platform.refused(&["delete", "pool", "mine", "--token-file", viewer]);
    assert!(complaint.contains("is a viewer's and changes nothing"), "{complaint}");
    let wrong = platform.workplace.write("wrong", &"a".repeat(64));
    let complaint = platform.refused(&["get", "nodes", "--token-file", wrong.to_str().expect("UTF-8")]);
    assert!(complaint.contains("the token is not known here"), "{complaint}");
    platform.done(&["token", "revoke", "feed-ci"]);
    assert!(platform.refused(&with(&["get", "pools"], token)).contains("the token is not known here"));

    // What nobody else may read is not readable, and what is kept of tokens is none.
    let operator = std::fs::read_to_string(platform.dir.join("tokens/operator")).expect("the token");
    let mode =
        |name: &str| std::fs::metadata(platform.dir.join(name)).expect(name).permissions().mode() & 0o777;
    for file in ["tokens/operator", "tokens/viewer", "tokens/known.json", "audit.log", "store.db", "api"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    assert_eq!((mode(""), mode("tokens")), (0o700, 0o700));
    let read = |name: &str| std::fs::read_to_string(platform.dir.join(name)).expect(name);
    let audit = read("audit.log");
    for text in [read("tokens/known.json"), audit.clone()] {
        assert!(!text.contains(operator.trim()), "{text}");
    }
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let refused = lines.iter().find(|line| line["object"] == "Pool/theirs" && line["status"] == 404);
    assert_eq!(refused.expect("an attempt is written down")["tenant"], "feed");
}

#[test]
fn what_is_wrong_is_said_by_name() {
    let platform = Platform::new();
    let wrong = platform.workplace.write("wrong.yaml", "apiVersion: shoal.dev/v1alpha1\nkind: Pool\nmetadata:\n  name: a\nspec:\n  mode: cache\n  shards: 1\n  memroy: 64MiB\n");
    let complaint = platform.refused(&["apply", "-f", wrong.to_str().expect("UTF-8")]);
    assert!(
        complaint.contains("wrong.yaml line 8") && complaint.contains("did you mean `memory`?"),
        "{complaint}"
    );
    platform.done(&["apply", "-f", &example("tenant.yaml")]);
    let big = std::fs::read_to_string(example("hot.yaml")).expect("the example");
    let big = big
        .replace("memory: 64MiB", "memory: 12GiB")
        .replace("  mode: cache", "  tenant: feed\n  mode: cache");
    let big = platform.workplace.write("big.yaml", &big);
    let complaint = platform.refused(&["apply", "-f", big.to_str().expect("UTF-8")]);
    assert!(complaint.contains("feed") && complaint.contains("32GiB"), "{complaint}");
    assert!(platform.refused(&["wait", "pool", "none", "--timeout", "1s"]).contains("there is no Pool none"));
    assert_eq!(platform.run(&["get", "poools"]).status.code(), Some(2));
    assert!(startup::errors(&platform.run(&["get", "poools"])).contains("did you mean Pool?"));

    // A second control of the directory, one at an address that is taken, one that would be open to others.
    let control = |args: &[&str]| startup::run(&ShoalProxy::program(), &[&["control"], args].concat());
    let second = control(&["--dir", platform.dir(), "--listen", "127.0.0.1:0"]);
    assert!(
        startup::errors(&second).contains("another control uses it already"),
        "{}",
        startup::errors(&second)
    );
    let other = platform.workplace.path().join("other");
    let other = other.to_str().expect("UTF-8");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let refused = control(&["--dir", other, "--listen", &address]);
    assert!(
        startup::errors(&refused).contains("another program has that port"),
        "{}",
        startup::errors(&refused)
    );
    let refused = control(&["--dir", other, "--listen", "0.0.0.0:0"]);
    assert!(startup::errors(&refused).contains("listen on loopback"), "{}", startup::errors(&refused));
}

#[test]
fn the_store_is_copied_and_brought_back() {
    let mut platform = Platform::new();
    platform.done(&["apply", "-f", &example("nodes.yaml")]);
    let copy = platform.workplace.path().join("copy.db");
    let copy = copy.to_str().expect("UTF-8");
    platform.done(&["backup", "store", "--to", copy]);
    assert!(platform.refused(&["backup", "store", "--to", copy]).contains("cannot be written"));
    platform.done(&["delete", "-f", &example("nodes.yaml")]);
    platform.end();
    assert!(platform.refused(&["restore", "store", "--from", copy]).contains("move it away first"));
    for file in ["store.db", "store.db-wal"] {
        // SQLite may have removed its log when it was closed.
        let _ = std::fs::rename(platform.dir.join(file), platform.workplace.path().join(file));
    }
    platform.done(&["restore", "store", "--from", copy]);
    platform.begin();
    assert_eq!(platform.json(&["get", "nodes", "-o", "json"]).as_array().map(Vec::len), Some(3));
}

#[test]
fn a_watch_shows_what_changes_and_ends_with_control() {
    let mut platform = Platform::new();
    platform.done(&["apply", "-f", &example("tenant.yaml")]);
    let log = platform.workplace.subdir("watch").join("log");
    let args = ["get", "tenants", "--watch", "-o", "json", "--dir", platform.dir()];
    let mut watching = Process::start(&ShoalProxy::program(), &args, &log);
    let shown = |watching: &Process, text: &str| {
        wait::until(text, || watching.log().contains(text).then_some(()));
    };
    shown(&watching, "company");
    let more = std::fs::read_to_string(example("tenant.yaml")).expect("the example");
    let more = platform.workplace.write("tenant.yaml", &more.replace("name: feed", "name: chat"));
    platform.done(&["apply", "-f", more.to_str().expect("UTF-8")]);
    shown(&watching, "\"name\": \"chat\"");
    platform.done(&["delete", "tenant", "chat"]);
    shown(&watching, "Tenant/chat is gone");
    platform.end();
    let ended = wait::at_most(CONTROL, || watching.ended()).expect("nothing is left to watch");
    assert_eq!(ended.code(), Some(1), "{}", watching.log());
}

#[test]
fn a_declaration_is_edited() {
    let platform = Platform::new();
    platform.done(&["apply", "-f", &example("tenant.yaml")]);
    // An editor is any program that changes the file.
    let edit = |script: &str| {
        let mut command = Command::new(ShoalProxy::program());
        command.args(["edit", "tenant", "feed", "--dir", platform.dir()]).env("EDITOR", script);
        command.output().expect("shoal")
    };
    let output = edit("sed -i s/32GiB/16GiB/");
    assert!(output.status.success(), "{}", startup::errors(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Tenant/feed configured\n");
    let tenant = platform.json(&["get", "tenant", "feed", "-o", "json"]);
    assert_eq!(tenant["spec"]["quota"]["memory"]["max"], "16GiB");
    assert_eq!(String::from_utf8_lossy(&edit("true").stdout), "Tenant/feed unchanged\n");
    let output = edit("sed -i s/memory/memroy/");
    assert!(startup::errors(&output).contains("did you mean `memory`?"), "{}", startup::errors(&output));
    let kept = startup::errors(&output);
    let kept = kept.split("is kept in ").nth(1).and_then(|rest| rest.split(':').next()).expect("a file");
    assert!(std::fs::read_to_string(kept).expect("what was written").contains("memroy"));
    std::fs::remove_file(kept).expect("it is there");
    let output = edit("false");
    assert!(startup::errors(&output).contains("nothing was changed"), "{}", startup::errors(&output));
}

#[test]
fn shells_are_told_how_to_complete() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(ShoalProxy::program()).args(["completion", shell]).output().expect("shoal");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success() && text.contains("uncordon"), "{shell}");
    }
}

impl Platform {
    /// What a verb prints that hands `rest` on to redis-cli.
    #[track_caller]
    fn done_with(&self, args: &[&str], rest: &[&str]) -> String {
        let all = [args, &["--dir", self.dir(), "--"], rest].concat();
        let output = startup::run(&ShoalProxy::program(), &all);
        assert!(output.status.success(), "{args:?}: {}{}", startup::errors(&output), self.said());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
