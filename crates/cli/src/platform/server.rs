//! Where control is, and one request to it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use serde_json::Value;
use shoal_control::resource::Kind;

use crate::http::{Sent, Target, ask_control};

/// How long control may take for anything but a watch.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one watch waits before it is asked again, in seconds.
pub const WATCH_SECONDS: u64 = 30;

/// Where control is, and who asks.
#[derive(Debug, Args)]
pub struct Server {
    /// The state directory of a control on this machine: where it listens and the operator's token are looked up there
    #[arg(long, value_name = "DIRECTORY", default_value = ".shoal/up", env = "SHOAL_DIR", global = true)]
    pub dir: PathBuf,
    /// Where control listens, host:port [default: what --dir says]
    #[arg(long, value_name = "ADDRESS", env = "SHOAL_SERVER", global = true)]
    server: Option<String>,
    /// A file with the token [default: tokens/operator in --dir]
    #[arg(long, value_name = "FILE", env = "SHOAL_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
}

impl Server {
    /// Asks, and gives what is answered; what is refused is an error in control's words.
    pub fn ask(&self, method: &str, target: &Target, body: &str) -> Result<Value> {
        let (status, answered) = self.try_ask(method, target, body)?;
        if status < 300 { Ok(answered) } else { bail!("{}", said(status, &answered)) }
    }

    /// One object as it is now; none if there is none.
    pub fn find(&self, kind: Kind, name: &str) -> Result<Option<Value>> {
        match self.try_ask("GET", &path(kind, name), "")? {
            (200, object) => Ok(Some(object)),
            (404, _) => Ok(None),
            (status, answered) => bail!("{}", said(status, &answered)),
        }
    }

    /// Asks: the status, and what is answered.
    pub fn try_ask(&self, method: &str, target: &Target, body: &str) -> Result<(u16, Value)> {
        let (status, bytes) = self.bytes(method, target, body)?;
        let read = serde_json::from_slice(&bytes).ok();
        let plain = || Value::String(String::from_utf8_lossy(&bytes).trim().to_owned());
        Ok((status, read.unwrap_or_else(plain)))
    }

    /// Asks: the status, and the bytes that are answered.
    pub fn bytes(&self, method: &str, target: &Target, body: &str) -> Result<(u16, Vec<u8>)> {
        let token = self.token()?;
        let patience = PATIENCE + Duration::from_secs(WATCH_SECONDS);
        ask_control(&self.address()?, target, Sent { method, token: Some(&token), body, patience })
    }

    fn address(&self) -> Result<String> {
        if let Some(server) = &self.server {
            let server = server.trim_start_matches("http://").trim_end_matches('/');
            if server.starts_with("https://") {
                bail!("{server}: control has no TLS; reach it by loopback, or through a tunnel of yours");
            }
            return Ok(server.to_owned());
        }
        let said = self.dir.join("api");
        let hint = || {
            format!(
                "{} says where control listens, and cannot be read: start it by `shoal control --dir {}`, or say where it is by --server or --dir",
                said.display(),
                self.dir.display()
            )
        };
        Ok(fs::read_to_string(&said).with_context(hint)?.trim().to_owned())
    }

    fn token(&self) -> Result<String> {
        let path = self.token_file.clone().unwrap_or_else(|| self.dir.join("tokens/operator"));
        let hint =
            || format!("the token cannot be read from {}: say where it is by --token-file", path.display());
        let token = fs::read_to_string(&path).with_context(hint)?;
        Ok(token.trim().to_owned())
    }
}

/// What control says of what it refused.
pub fn said(status: u16, answered: &Value) -> String {
    let message = answered["error"]["message"].as_str().or(answered.as_str());
    message.map_or_else(|| format!("control answered {status}"), str::to_owned)
}

/// The path of one object.
pub fn path(kind: Kind, name: &str) -> Target {
    Target::new(&format!("/v1/{}/", kind.plural())).then(name)
}

/// A kind as people type it.
pub fn kind(word: &str) -> Result<Kind, String> {
    Kind::from_word(word).map_err(|error| error.to_string())
}

/// Prints; that nobody reads any more is no error.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot print"),
    }
}

/// Writes a new file that nobody else may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    })
    .map_err(|error| anyhow!(error).context(format!("{} cannot be written", path.display())))
}
