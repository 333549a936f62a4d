//! How a process ended, in a sentence.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use super::layout::Place;
use super::log_files;
use super::record::Record;
use crate::back_off;
use crate::runtime::Exit;

/// Of its last words so many are told.
const LAST_WORDS: usize = 2;

/// What is noted of an end. `status`: if it was this process's child.
pub(super) fn exit(record: &Record, status: Option<ExitStatus>, place: &Place, now: SystemTime) -> Exit {
    let asked = record.stopping.is_some();
    let lasted = now.duration_since(record.started_at).unwrap_or(Duration::ZERO);
    let unasked_in_a_row = if asked { 0 } else { back_off::count(record.unasked_in_a_row, lasted) };
    let mut reason = match status {
        None if asked => "it ended as it was asked to".to_owned(),
        None => "it ended while nobody watched".to_owned(),
        Some(status) => match (status.signal(), status.code()) {
            (Some(number), _) => format!("it was killed by signal {number}{}", signal_name(number)),
            (None, Some(0)) if asked => "it ended as it was asked to".to_owned(),
            (None, Some(code)) => format!("it ended by itself with code {code}"),
            (None, None) => "it ended".to_owned(),
        },
    };
    if !asked {
        let words = log_files::last_words(&place.log(), LAST_WORDS);
        if !words.is_empty() {
            reason.push_str("; its last words: ");
            reason.push_str(&words.join(" | "));
        }
    }
    Exit { at: now, asked, reason, unasked_in_a_row }
}

fn signal_name(number: i32) -> &'static str {
    match number {
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        9 => " (SIGKILL: by somebody, or by the kernel for want of memory, which `dmesg` tells)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}
