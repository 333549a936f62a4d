//! All children of `shoal up`: started servers first, ended proxy first.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::directory::Directory;
use super::instance::Instance;
use super::interrupts::Interrupts;
use super::layout::{Layout, Server};
use super::ready;

/// How long all servers, and then the proxy, may take until they answer.
const START: Duration = Duration::from_secs(30);

/// How long the proxy, and then all servers, may take to end when asked.
const END: Duration = Duration::from_secs(10);

/// For so long after the first signal a further one is its echo: a shell, make and `timeout` may each pass it on.
const ECHO: Duration = Duration::from_millis(300);

/// Between two looks at something that cannot wake us.
const LOOK: Duration = Duration::from_millis(20);

/// The processes.
#[derive(Debug, Default)]
pub struct Fleet {
    /// In the layout's order.
    servers: Vec<Watched>,
    proxy: Option<Instance>,
}

#[derive(Debug)]
struct Watched {
    instance: Instance,
    /// Whether its end was told.
    told: bool,
}

impl Fleet {
    /// Starts the Redis servers.
    pub fn start_servers(&mut self, layout: &Layout) -> Result<()> {
        for (_, server) in layout.servers() {
            let mut command = Command::new("redis-server");
            command.arg(server.config());
            let instance = Instance::start(&server.name, &server.dir, command)?;
            self.servers.push(Watched { instance, told: false });
        }
        Ok(())
    }

    /// Waits until all servers answer; false if a signal came first.
    pub fn wait_for_servers(
        &mut self,
        layout: &Layout,
        directory: &Directory,
        interrupts: &Interrupts,
    ) -> Result<bool> {
        let deadline = Instant::now() + START;
        for ((pool, server), watched) in layout.servers().zip(&mut self.servers) {
            let password = directory.password(layout, pool)?;
            let answers = || ready::answers(server.address, &password);
            if !wait_for(&mut watched.instance, answers, deadline, interrupts)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Starts the proxy: this same program.
    pub fn start_proxy(&mut self, layout: &Layout) -> Result<()> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let dir = layout.proxy_dir();
        let mut command = Command::new(program);
        command.args(["proxy", "--config"]).arg(dir.join("proxy.yml"));
        self.proxy = Some(Instance::start("proxy", &dir, command)?);
        Ok(())
    }

    /// Waits until both pools answer; false if a signal came first.
    pub fn wait_for_proxy(
        &mut self,
        layout: &Layout,
        directory: &Directory,
        interrupts: &Interrupts,
    ) -> Result<bool> {
        let deadline = Instant::now() + START;
        for pool in &layout.pools {
            let password = directory.password(layout, pool)?;
            let answers = || ready::answers(pool.listen, &password);
            if let Some(proxy) = &mut self.proxy
                && !wait_for(proxy, answers, deadline, interrupts)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A sentence for each server that has ended since the last call.
    pub fn newly_ended_servers(&mut self) -> Vec<String> {
        let mut sentences = Vec::new();
        for server in self.servers.iter_mut().filter(|server| !server.told) {
            if let Some(status) = server.instance.ended() {
                server.told = true;
                let (name, words) = (server.instance.name(), server.instance.last_words(status));
                sentences.push(format!("{name} ended, and the demo goes on without it: {words}"));
            }
        }
        sentences
    }

    /// The proxy's last words, if it has ended.
    pub fn proxy_ended(&mut self) -> Option<String> {
        let proxy = self.proxy.as_mut()?;
        proxy.ended().map(|status| proxy.last_words(status))
    }

    /// Where everything is, and every process id.
    pub fn addresses(&self, layout: &Layout) -> Value {
        let mut pids = self.servers.iter().map(|server| server.instance.pid());
        let mut pools = Vec::new();
        for pool in &layout.pools {
            let server = |server: &Server| json!({"name": server.name, "address": server.address.to_string(), "pid": pids.next()});
            pools.push(json!({
                "name": pool.name,
                "mode": pool.mode.to_string(),
                "address": pool.listen.to_string(),
                "password_file": layout.password_file(pool).to_string_lossy(),
                "servers": pool.servers.iter().map(server).collect::<Vec<_>>(),
            }));
        }
        let pid = self.proxy.as_ref().map(Instance::pid);
        let (stats, admin) = (layout.stats.to_string(), layout.admin.to_string());
        json!({"pools": pools, "proxy": {"pid": pid, "stats": stats, "admin": admin}})
    }

    /// Ends everything: the proxy first, so that no client meets a missing shard. None is left when this returns.
    pub fn stop(&mut self, interrupts: &Interrupts) {
        let begun = Instant::now();
        let mut hurried = false;
        end(self.proxy.as_mut_slice().iter_mut().collect(), begun, interrupts, &mut hurried);
        let servers = self.servers.iter_mut().map(|server| &mut server.instance).collect();
        end(servers, begun, interrupts, &mut hurried);
    }
}

/// Waits until `answers` or the deadline, or an end, or a signal (then false).
fn wait_for(
    instance: &mut Instance,
    answers: impl Fn() -> bool,
    deadline: Instant,
    interrupts: &Interrupts,
) -> Result<bool> {
    let name = instance.name().to_owned();
    loop {
        // Ours must live: what answers at its address may be somebody else.
        if let Some(status) = instance.ended() {
            bail!("{name} ended before it served: {}", instance.last_words(status));
        }
        if answers() {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            bail!("{name} does not answer within {START:?}; its log is {}", instance.log().display());
        }
        if interrupts.wait(LOOK) {
            return Ok(false);
        }
    }
}

/// Asks all to end, and kills those that have not when the time is over or a further signal comes.
fn end(mut instances: Vec<&mut Instance>, begun: Instant, interrupts: &Interrupts, hurried: &mut bool) {
    for instance in &mut instances {
        instance.terminate();
    }
    let deadline = Instant::now() + END;
    loop {
        instances.retain_mut(|instance| instance.ended().is_none());
        if instances.is_empty() || *hurried || Instant::now() >= deadline {
            break;
        }
        *hurried = interrupts.wait(LOOK) && begun.elapsed() >= ECHO;
    }
    for instance in instances {
        instance.kill();
    }
}
