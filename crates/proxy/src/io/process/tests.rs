use std::path::Path;

use super::*;
use crate::config::from_proxy_yml;
use crate::io::follower::Done;

/// Settings of a pool that listens in `folder`, with this one server.
fn settings(folder: &Path, server: &str) -> Settings {
    let listen = folder.join("socket");
    let text = format!(
        "pools:\n  - name: p\n    mode: storage\n    listen: {}\n    servers: [{{name: s, {server}}}]\n",
        listen.display()
    );
    from_proxy_yml(Path::new("proxy.yml"), &text, 1).unwrap().settings
}

fn serve(settings: Settings) -> Serving {
    let (reporter, _) = reports().unwrap();
    Serving::start(settings, Some(1), &reporter, &mut Inherited::default()).unwrap()
}

/// That the shard of this status goes to this port, by the follower's word; what is set when all have done it.
fn switch(of: &Serving, port: u16) -> (Switch, Arc<std::sync::atomic::AtomicBool>) {
    let bell =
        Arc::new(rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("an eventfd"));
    let (done, is_done) = Done::awaited(bell);
    let status = of.pools[0].followed(0).expect("a shard that is followed").status.clone();
    let change = Change::To(shoal_topology::Endpoint::Tcp { host: "127.0.0.1".to_owned(), port });
    (Switch { pool: "p".to_owned(), shard: "s".to_owned(), status, change, done }, is_done)
}

const ONE: &str = "sentinels: ['127.0.0.1:1'], master_name: one";
const SAME: &str = "sentinels: ['127.0.0.1:2'], master_name: one";
const OTHER: &str = "sentinels: ['127.0.0.1:1'], master_name: other";

#[test]
fn a_switch_is_not_of_the_shard_that_a_reload_has_put_in_the_place_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(settings(folder.path(), ONE));
    let (switch, is_done) = switch(&serving, 7);
    // It waits in the queue while the main thread reloads.
    serving.go_over(settings(folder.path(), OTHER)).unwrap();
    serving.switch(switch);
    assert!(is_done.load(std::sync::atomic::Ordering::Acquire), "nobody has anything to do");
    assert_eq!(serving.pools[0].primary(0), Primary::Switching, "it waits for the word of its own sentinels");
    serving.stop();
}

#[test]
fn a_switch_is_of_the_shard_that_a_reload_has_given_more_sentinels_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(settings(folder.path(), ONE));
    let (switch, _) = switch(&serving, 7);
    serving.go_over(settings(folder.path(), SAME)).unwrap();
    serving.switch(switch);
    let shard = &serving.pools[0].pool.shards[0];
    assert_eq!(
        (serving.pools[0].primary(0), shard.primary.to_string().as_str()),
        (Primary::Known, "127.0.0.1:7")
    );
    serving.stop();
}

#[test]
fn requests_wait_where_a_reload_gives_a_shard_to_sentinels() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(settings(folder.path(), "address: '127.0.0.1:7'"));
    serving.go_over(settings(folder.path(), ONE)).unwrap();
    assert_eq!(serving.pools[0].primary(0), Primary::Switching);
    serving.stop();
    // At the start clients wait outside instead.
    assert_eq!(settings(folder.path(), ONE).pools[0].primary(0), Primary::Unknown);
}

#[test]
fn a_reload_changes_the_permissions_of_a_socket_that_is_listened_on() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let with = |mode| {
        let mut settings = settings(folder.path(), "address: '127.0.0.1:7'");
        let path = folder.path().join("socket").display().to_string();
        settings.pools[0].listen = crate::settings::Listen::Unix { path, mode };
        settings
    };
    let mode = || std::fs::metadata(folder.path().join("socket")).unwrap().permissions().mode() & 0o777;
    let mut serving = serve(with(Some(0o600)));
    assert_eq!(mode(), 0o600);
    serving.go_over(with(Some(0o660))).unwrap();
    assert_eq!(mode(), 0o660);
    serving.go_over(with(None)).unwrap();
    assert_eq!((mode(), serving.listeners.len()), (0o660, 1));
    serving.stop();
}

#[test]
fn an_address_that_is_taken_may_be_ones_own_written_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut serving = serve(settings(folder.path(), "address: '127.0.0.1:7'"));
    let mut other = settings(folder.path(), "address: '127.0.0.1:7'");
    let port = taken.local_addr().unwrap().port();
    other.pools[0].listen = crate::settings::Listen::Tcp { host: "127.0.0.1".to_owned(), port };
    let why = serving.go_over(other).unwrap_err();
    assert!(why.contains("write it as before, or restart"), "{why}");
    serving.stop();
}

#[test]
fn clients_who_come_in_a_crowd_do_not_keep_the_main_thread_from_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), "address: '127.0.0.1:7'");
    let pools: Vec<Arc<PoolSettings>> = settings.pools.into_iter().map(Arc::new).collect();
    let place = places(&pools).next().unwrap();
    let listener = Listener::bind(place, &mut Inherited::default()).unwrap();
    let path = folder.path().join("socket");
    let crowd: Vec<_> =
        (0..300).map(|_| std::os::unix::net::UnixStream::connect(&path).expect("room to wait")).collect();
    let inboxes = [Arc::new(Inbox::new().unwrap())];
    let mut reserve = None;
    listener.accept(&inboxes, usize::MAX, &mut reserve);
    assert_eq!(inboxes[0].sessions(), 256);
    listener.accept(&inboxes, usize::MAX, &mut reserve);
    assert_eq!(inboxes[0].sessions(), crowd.len());
    drop(inboxes[0].take());
    assert_eq!(inboxes[0].sessions(), 0, "who is not taken is not counted");
}
