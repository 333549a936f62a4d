//! Servers and a proxy before them, whose pool can be given other users, passwords and limits by a reload.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use shoal_e2e::process::Process;
use shoal_e2e::{RawClient, RedisServer, ShoalProxy, Workplace, ports, wait};

/// How often a start is tried with other ports.
const TRIES: usize = 3;

pub struct Rig {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub process: Process,
    pub servers: Vec<RedisServer>,
    pub file: PathBuf,
    pub workplace: Workplace,
}

impl Rig {
    /// A pool called `door` over as many servers, started with these options; `keys` are more lines of the pool.
    pub fn start(shards: usize, options: &[&str], keys: &str) -> Rig {
        let workplace = Workplace::new();
        let servers: Vec<_> = (0..shards).map(|_| RedisServer::start(&workplace, options)).collect();
        let mut log = String::new();
        for _ in 0..TRIES {
            let [listen, admin] =
                [ports::free(), ports::free()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let file = workplace.write("proxy.yml", &yml(listen, admin, &servers, keys));
            fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("make it private");
            let args = ["proxy", "--config", &file.to_string_lossy()];
            let mut process = Process::start(&ShoalProxy::program(), &args, &file.with_file_name("log"));
            let up = wait::at_most(wait::DEADLINE, || match process.ended() {
                Some(_) => Some(false),
                None => {
                    [listen, admin].iter().all(|addr| RawClient::try_connect(*addr).is_ok()).then_some(true)
                }
            });
            if up == Some(true) {
                return Rig { listen, admin, process, servers, file, workplace };
            }
            log = process.log();
        }
        panic!("the proxy does not start:\n{log}")
    }

    /// The pool has these lines from now on.
    pub fn reload(&self, keys: &str) {
        fs::write(&self.file, yml(self.listen, self.admin, &self.servers, keys))
            .expect("write the configuration");
        let answer = self.ask("POST", "/reload");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// A file that its owner alone may read; its path.
    pub fn private(&self, name: &str, text: &str) -> PathBuf {
        let file = self.workplace.write(name, text);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("make it private");
        file
    }

    pub fn client(&self) -> RawClient {
        RawClient::connect(self.listen)
    }

    /// A client that has given a name and password.
    pub fn entered(&self, user: &str, password: &str) -> RawClient {
        let mut client = self.client();
        assert_eq!(client.call(&["AUTH", user, password]), b"+OK\r\n");
        client
    }

    /// What the admin port says to `path`, head and body.
    pub fn ask(&self, method: &str, path: &str) -> String {
        let mut client = RawClient::connect(self.admin);
        let head = "Host: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        client.send(format!("{method} {path} HTTP/1.1\r\n{head}").as_bytes());
        String::from_utf8(client.until_closed()).expect("an answer in UTF-8")
    }

    /// The number of a metric of the pool.
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.ask("GET", "/metrics");
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{page}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

/// Shows the proxy's log beside the failure of a test.
impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.process.log());
        }
    }
}

fn yml(listen: SocketAddr, admin: SocketAddr, servers: &[RedisServer], keys: &str) -> String {
    let mut yml = format!(
        "workers: 2\nadmin: {admin}\npools:\n  - name: door\n    mode: storage\n    listen: {listen}\n    hash_tag: '{{}}'\n"
    );
    for line in keys.lines() {
        yml.push_str(&format!("    {line}\n"));
    }
    yml.push_str("    servers:\n");
    for (index, server) in servers.iter().enumerate() {
        yml.push_str(&format!("      - {{name: door-{index}, address: '{}'}}\n", server.addr()));
    }
    yml
}

/// The words of a line.
pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// What a server or the proxy says to a line, as text.
pub fn say(client: &mut RawClient, line: &str) -> String {
    let said = client.call(&words(line));
    String::from_utf8_lossy(&said).replace("\r\n", "\\r\\n")
}
