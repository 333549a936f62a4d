//! A link that can be cut and healed: it passes bytes on between a proxy and a server.
//!
//! While it is cut nothing passes either way and connections that are tried meanwhile hang, as behind a router that drops
//! everything: neither side is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// A forwarder from a port of its own to a server, ended on drop.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: Mutex<bool>,
    changed: Condvar,
    ended: AtomicBool,
}

impl Link {
    /// Begins to pass on to `server`.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let addr: SocketAddr = (Ipv4Addr::LOCALHOST, crate::ports::free()).into();
        let listener = TcpListener::bind(addr).expect("listen on a free port");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                if shared.ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(near) = near else { continue };
                let state = Arc::clone(&shared);
                thread::spawn(move || pass(&near, server, &state));
            }
        });
        Self { addr, state }
    }

    /// Where the proxy connects.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Nothing passes from now on.
    pub fn cut(&self) {
        self.set(true);
    }

    /// Everything passes again, what waited included.
    pub fn heal(&self) {
        self.set(false);
    }

    fn set(&self, cut: bool) {
        *self.state.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
        self.state.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        self.heal();
        // Wakes the one that accepts; it may have ended already.
        let _ = TcpStream::connect(self.addr);
    }
}

impl State {
    /// Waits until the link is whole.
    fn wait(&self) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        while *cut {
            cut = self.changed.wait(cut).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Passes both ways until one side ends.
fn pass(near: &TcpStream, server: SocketAddr, state: &Arc<State>) {
    state.wait();
    let Ok(far) = TcpStream::connect(server) else { return };
    let copies = (near.try_clone(), far.try_clone());
    let (Ok(near_copy), Ok(far_copy)) = copies else { return };
    let shared = Arc::clone(state);
    let back = thread::spawn(move || copy(&far_copy, &near_copy, &shared));
    copy(near, &far, state);
    // A thread that panicked has said so.
    let _ = back.join();
}

/// Copies until `from` ends, then ends `to`.
fn copy(mut from: &TcpStream, mut to: &TcpStream, state: &State) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) | Ok(0) => break,
            Ok(read) => read,
        };
        state.wait();
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    state.wait();
    // Either may have ended already.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
