//! Load that goes on in a scope of threads while something happens to the proxy.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::RawClient;
use crate::raw_client::encode;

/// Tells the threads of a scope to stop when it goes. A scope waits for its threads, so without it an assertion that fails
/// under load would hang the test and not be told.
#[derive(Debug)]
pub struct StopAtEnd<'s>(pub &'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends so many SETs with a GET behind each at a time, to keys that begin with `prefix`, until told to stop; how many rounds
/// it made.
///
/// # Panics
/// When a reply is not the right one, or does not come.
pub fn set_and_get(mut client: RawClient, prefix: &str, pipeline: usize, stop: &AtomicBool) -> usize {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let (mut requests, mut expected) = (Vec::new(), String::new());
        for number in 0..pipeline {
            let (key, value) = (format!("{prefix}:{number}"), format!("{prefix}:{number}:{round}"));
            requests.extend(encode(&["SET", &key, &value]));
            requests.extend(encode(&["GET", &key]));
            expected.push_str(&format!("+OK\r\n${}\r\n{value}\r\n", value.len()));
        }
        client.send(&requests);
        let got = client.read_exactly(expected.len());
        assert_eq!(String::from_utf8_lossy(&got), expected, "keys of {prefix}, round {round}");
        round += 1;
    }
    round
}
