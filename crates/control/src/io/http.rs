//! The HTTP server of control, and what it keeps: tokens, the audit log, the place where it listens.
//!
//! ```text
//!  <dir>/api                 http address, for the commands of `shoal`
//!       /tokens/operator     a token, made at the first start; its owner may move it elsewhere
//!       /tokens/viewer
//!       /tokens/known.json   of each token its SHA-256, and whose it is
//!       /audit.log           a line of JSON for each change
//! ```
//!
//! One thread a connection and one request each, as the admin port of the proxy has it: for operators and programs, not
//! for traffic. There is no TLS, so it listens on loopback alone.

mod audit_log;
mod token_files;

use crate::Error;
use crate::api::{Answer, Audit, Call, Caller, Denied, Surroundings, handle};
use crate::quantity::Timestamp;
use crate::runtime::{Logs, Runtime};
use crate::store::Store;
use audit_log::AuditLog;
use serde_json::json;
use shoal_telemetry::http::{Request, Response};
use shoal_telemetry::io::http::{Limits, Server};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use token_files::TokenFiles;

use super::private_file;

/// Connections at a time; one more is answered 503.
const CONNECTIONS_MAX: usize = 256;
/// Of these, watches that wait.
const WATCHES_MAX: usize = 192;
/// Bytes of a request's body: one declaration.
const BODY_MAX: usize = 1 << 20;
/// How long a watch sleeps before it looks whether the server ends.
const WATCH_SLICE: Duration = Duration::from_millis(500);

/// Copies the store into a new file.
pub type Backup = Box<dyn Fn(&Path) -> Result<(), Error> + Send + Sync>;

/// What the server answers from.
pub struct Backend {
    /// Where objects are kept.
    pub store: Arc<dyn Store + Send + Sync>,
    /// Asked what runs, to say which steps a change would have.
    pub runtime: Arc<dyn Runtime + Send + Sync>,
    /// What processes wrote.
    pub logs: Arc<dyn Logs + Send + Sync>,
    /// Copies the store into a new file.
    pub backup: Backup,
}

/// A running server. Dropping it ends it: watches are answered, other requests are finished.
pub struct Http {
    served: Arc<Served>,
    address: SocketAddr,
    /// Dropped after `served` was told that it ends.
    _server: Server,
}

struct Served {
    backend: Backend,
    dir: PathBuf,
    tokens: TokenFiles,
    audit: AuditLog,
    /// Changes come one behind the other: quotas are sums over many objects, of a tenant and of those above it.
    changing: Mutex<()>,
    watches: AtomicUsize,
    stopping: AtomicBool,
    /// Another for each start, in front of the requests' numbers.
    run: String,
    requests: AtomicU64,
}

impl Http {
    /// Listens, and serves on threads of its own. Port 0 takes any that is free.
    ///
    /// # Errors
    /// [`Error::Listen`] for an address that is taken or not loopback; [`Error::Runtime`] if the state directory cannot be
    /// written to.
    pub fn start(dir: &Path, listen: SocketAddr, backend: Backend) -> Result<Self, Error> {
        let no = |why: String| Error::Listen { address: listen, why };
        if !listen.ip().is_loopback() {
            let why = "it has no TLS, so that tokens could be read on the way: listen on loopback, and put a tunnel in front";
            return Err(no(why.to_owned()));
        }
        private_file::folder(dir)?;
        let socket = TcpListener::bind(listen).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                no("another program has that port: is another control running? Choose another by --listen"
                    .to_owned())
            }
            _ => no(error.to_string()),
        })?;
        let address = socket.local_addr().map_err(|error| no(error.to_string()))?;
        let served = Arc::new(Served {
            backend,
            dir: dir.to_owned(),
            tokens: TokenFiles::open(dir)?,
            audit: AuditLog::open(dir)?,
            changing: Mutex::new(()),
            watches: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            run: token_files::chance()?.sha256()[..8].to_owned(),
            requests: AtomicU64::new(0),
        });
        let limits = Limits { connections: CONNECTIONS_MAX, body_bytes: BODY_MAX, ..Limits::default() };
        let answering = Arc::clone(&served);
        let server = Server::start(socket, limits, move |request: &Request| answering.answer(request))
            .map_err(|error| no(error.to_string()))?;
        private_file::write(&dir.join("api"), format!("{address}\n").as_bytes())?;
        Ok(Http { served, address, _server: server })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.served.stopping.store(true, Ordering::Relaxed);
    }
}

impl Served {
    fn answer(&self, request: &Request) -> Response {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.run);
        let mut answered = match Call::read(request) {
            // Whether it runs is no secret; what it knows is.
            Ok(Call::Health) => Answer::of(json!({ "status": "ok" })),
            read => match (self.caller(request), read) {
                (Err(denied), _) | (Ok(_), Err(denied)) => denied.into(),
                (Ok(caller), Ok(Call::Backup)) => match self.backup(&caller, &id) {
                    Ok(bytes) => {
                        let content_type = "application/vnd.sqlite3";
                        return Response { status: 200, content_type, body: bytes };
                    }
                    Err(denied) => denied.into(),
                },
                (Ok(caller), Ok(call)) => self.handle(&caller, &call, &id),
            },
        };
        if let Some(fields) = answered.body.as_object_mut()
            && (answered.status >= 400 || fields.contains_key("verb"))
        {
            fields.insert("requestId".to_owned(), id.into());
        }
        Response::json(answered.status, format!("{}\n", answered.body))
    }

    fn caller(&self, request: &Request) -> Result<Caller, Denied> {
        let field = request.authorization.as_deref();
        let token = field.and_then(|field| {
            let (scheme, token) = field.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let found = token.and_then(|token| self.tokens.caller(token));
        found.ok_or_else(|| Denied::unknown_caller(token.is_some()))
    }

    fn handle(&self, caller: &Caller, call: &Call, id: &str) -> Answer {
        if let Call::Watch { patience, .. } = call {
            return self.watch(caller, call, *patience, id);
        }
        // Behind whoever changes something; who only looks waits for nobody.
        let _turn = call.is_change().then(|| self.changing.lock().unwrap_or_else(PoisonError::into_inner));
        let mut answer = match call {
            Call::Tokens | Call::CreateToken { .. } | Call::RevokeToken { .. } => {
                let mut answer = self.tokens.answer(caller, call).unwrap_or_else(Answer::from);
                answer.audit = Audit::of(caller, call, &answer, id, now());
                answer
            }
            _ => self.ask(caller, call, id),
        };
        if let Some(line) = &answer.audit
            && let Err(refused) = self.audit.write(line)
        {
            let what = if answer.status < 400 { "the change was made" } else { "the change was refused" };
            answer =
                Denied::internal(format!("{what}, and could not be written into the audit log: {refused}"))
                    .into();
        }
        answer
    }

    fn ask(&self, caller: &Caller, call: &Call, id: &str) -> Answer {
        let Backend { store, runtime, logs, .. } = &self.backend;
        let around =
            Surroundings { store: &**store, runtime: &**runtime, logs: &**logs, now: now(), request: id };
        handle(caller, call, &around)
    }

    /// Waits until the watch sees something, the client's patience ends, or the server does.
    fn watch(&self, caller: &Caller, call: &Call, patience: Duration, id: &str) -> Answer {
        let _watch = match Waiting::begin(&self.watches) {
            Some(waiting) => waiting,
            None => {
                let message = format!("{WATCHES_MAX} watches are waiting already: try again in a moment");
                return Denied { status: 503, code: "Busy", message, reasons: Vec::new() }.into();
            }
        };
        let until = Instant::now() + patience;
        let mut call = call.clone();
        loop {
            let answer = self.ask(caller, &call, id);
            let left = until.saturating_duration_since(Instant::now());
            let (Some(since), Call::Watch { kind, from, .. }) = (&answer.quiet_since, &mut call) else {
                return answer;
            };
            if left.is_zero() || self.stopping.load(Ordering::Relaxed) {
                return answer;
            }
            *from = since.clone();
            // What it sees is asked for again above, where it is decided who may see it.
            if let Err(error) = self.backend.store.watch(*kind, since, left.min(WATCH_SLICE)) {
                return Denied::from(error).into();
            }
        }
    }

    fn backup(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, Denied> {
        let copied = self.copy(caller, id);
        let answer = match &copied {
            Ok(_) => Answer::of(json!({ "verb": "copied" })),
            Err(denied) => denied.clone().into(),
        };
        if let Some(line) = Audit::of(caller, &Call::Backup, &answer, id, now()) {
            self.audit.write(&line)?;
        }
        copied
    }

    /// The store's copy, for whom tokens are no secret either.
    fn copy(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, Denied> {
        self.tokens.answer(caller, &Call::Tokens)?;
        let path = self.dir.join(format!(".backup-{id}"));
        (self.backend.backup)(&path)?;
        let read = fs::read(&path);
        let removed = fs::remove_file(&path);
        let bytes = read.and_then(|bytes| removed.map(|()| bytes));
        bytes.map_err(|source| Error::File { path, source }.into())
    }
}

/// One watch among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(watches: &'a AtomicUsize) -> Option<Self> {
        let waiting = Waiting(watches);
        (watches.fetch_add(1, Ordering::Relaxed) < WATCHES_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
