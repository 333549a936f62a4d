//! The form of the case files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::escape;

/// One pool, its servers, and what a client sends and must read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows, as a sentence without a verb in front.
    pub case: String,
    /// Keys of the pool beside the runner's own; `~` takes one of those away.
    #[serde(default)]
    pub pool: BTreeMap<String, Option<String>>,
    /// Servers `s0`, `s1`, …; two of Redis if none are named.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// Further flags of the proxy, Twemproxy's.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Carried out in order.
    pub steps: Vec<Step>,
}

/// A server of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// A real one, emptied before the case.
    Redis,
    /// A real one of the case's own with these options: it may be stopped and killed.
    Own(Vec<String>),
    /// A port where nobody listens.
    Dead,
    /// A name that does not resolve.
    Unresolvable,
    /// Accepts, reads, and never answers.
    Silent,
    /// Closes the connection on a command.
    Closes,
    /// Resets the connection on a command.
    Resets,
    /// Answers each command with these (escaped) bytes.
    Answers(String),
    /// Answers with the number of the connection.
    Connection,
    /// Answers with all that the connection has heard.
    Transcript,
}

/// One thing that happens.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Which client does it: `a` unless named. A client connects at its first step, and again at the next
    /// one after its connection was closed.
    pub client: Option<String>,
    /// Instead of a client of the proxy: a connection to this server itself.
    pub direct: Option<usize>,
    /// A command, as words.
    pub send: Option<String>,
    /// Bytes.
    pub raw: Option<String>,
    /// Shut the sending side after it.
    #[serde(default)]
    pub shut: bool,
    /// The bytes that must come.
    pub expect: Option<String>,
    /// How the one reply that must come starts.
    pub starts: Option<String>,
    /// The connection must end (after `expect`).
    #[serde(default)]
    pub closed: bool,
    /// Send again until the reply is right.
    #[serde(default)]
    pub eventually: bool,
    /// What ours does instead.
    pub ours: Option<Ours>,
    /// SIGSTOP this server.
    pub stop: Option<usize>,
    /// SIGCONT this server.
    pub resume: Option<usize>,
    /// SIGKILL this server.
    pub kill: Option<usize>,
    /// Start this server again.
    pub restart: Option<usize>,
}

/// An intended difference at one step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ours {
    /// Its row in `differences.yaml`.
    pub difference: String,
    /// As in [`Step`].
    pub expect: Option<String>,
    /// As in [`Step`].
    pub starts: Option<String>,
    /// As in [`Step`].
    #[serde(default)]
    pub closed: bool,
}

/// What must be read after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing is read.
    Nothing,
    /// These bytes, and the connection stays.
    Bytes(Vec<u8>),
    /// One reply that starts so, and the connection stays.
    Starts(Vec<u8>),
    /// These bytes and then the end of the connection.
    Closed(Vec<u8>),
}

/// A row of the table of intended differences.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// How cases name it.
    pub id: String,
    /// What Twemproxy does.
    pub twemproxy: String,
    /// What ours does.
    pub ours: String,
    /// Why.
    pub why: String,
    /// The flags of `shoal proxy` that restore Twemproxy's way.
    #[serde(default)]
    pub switch: Vec<String>,
    /// The test that shows it, where no case can.
    pub test: Option<ShownByTest>,
}

/// A test of this crate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownByTest {
    /// Its file in `tests/`.
    pub file: String,
    /// Its function.
    pub name: String,
}

impl ShownByTest {
    /// Whether it is there and says which difference it shows, in a comment.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn shows(&self, difference: &str) -> bool {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(&self.file);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Some((_, function)) = text.split_once(&format!("#[test]\nfn {}() {{\n", self.name)) else {
            return false;
        };
        function.split("\n}\n").next().is_some_and(|body| body.contains(difference))
    }
}

impl Step {
    /// What the real one must answer.
    ///
    /// # Errors
    /// A broken escape, or expectations that exclude each other.
    pub fn expectation(&self) -> Result<Expectation, String> {
        expectation(self.expect.as_deref(), self.starts.as_deref(), self.closed)
    }
}

impl Ours {
    /// What ours must answer.
    ///
    /// # Errors
    /// As [`Step::expectation`].
    pub fn expectation(&self) -> Result<Expectation, String> {
        expectation(self.expect.as_deref(), self.starts.as_deref(), self.closed)
    }
}

impl Expectation {
    /// Whether no answer can fulfil both.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(bytes), Self::Starts(start)) | (Self::Starts(start), Self::Bytes(bytes)) => {
                !bytes.starts_with(start)
            }
            (Self::Starts(one), Self::Starts(two)) => !one.starts_with(two) && !two.starts_with(one),
            (one, two) => one != two,
        }
    }
}

fn expectation(expect: Option<&str>, starts: Option<&str>, closed: bool) -> Result<Expectation, String> {
    match (expect, starts, closed) {
        (None, None, false) => Ok(Expectation::Nothing),
        (None, Some(start), false) => Ok(Expectation::Starts(escape::unescape(start)?)),
        (Some(bytes), None, false) => Ok(Expectation::Bytes(escape::unescape(bytes)?)),
        (bytes, None, true) => Ok(Expectation::Closed(escape::unescape(bytes.unwrap_or_default())?)),
        (_, Some(_), _) => Err("`starts` stands alone".to_owned()),
    }
}

/// `testdata/nutcracker` of the repository.
#[must_use]
pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/nutcracker")
}

/// Reads a YAML file of `testdata/nutcracker`.
///
/// # Panics
/// When it is not there or not in the right form.
#[track_caller]
#[must_use]
pub fn load<T: DeserializeOwned>(name: &str) -> T {
    let path = testdata().join(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    match serde_saphyr::from_str(&text) {
        Ok(value) => value,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The table of intended differences.
///
/// # Panics
/// As [`load`].
#[must_use]
pub fn differences() -> Vec<Difference> {
    load("differences.yaml")
}
