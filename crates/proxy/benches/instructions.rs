//! The pure parts of a request's way, to be run under callgrind, which counts their instructions: `tools/instructions`.
//!
//! ```text
//!   instructions CASE ROUNDS      runs the case so many times, and prints how many requests that were
//!
//!   get64, mget10, …     a whole engine between clients and servers without sockets   benches/instructions/exchange.rs
//!   parse-get, …         one part alone: parsing, finding the ends of replies, routing   benches/instructions/parts.rs
//! ```
//!
//! Same bytes and same keys in each round, time as an argument, one seed: the same program gives the same number. The tool
//! runs two numbers of rounds, so that what the start costs cancels, and counts only inside the functions named in
//! [`COUNTED`].

#![expect(clippy::disallowed_methods, reason = "the program itself: it reads its arguments")]
#![expect(clippy::print_stdout, reason = "what it prints is read by tools/instructions")]

#[path = "instructions/exchange.rs"]
mod exchange;
#[path = "instructions/parts.rs"]
mod parts;

use std::process::ExitCode;

/// The functions inside which instructions are counted, each with the cases that it is run by. They are never inlined.
const COUNTED: [(&str, &[&str]); 5] = [
    ("requests_to_upstreams", &exchange::CASES),
    ("replies_to_sessions", &exchange::CASES),
    ("parse_requests", &["parse-get", "parse-set16k", "parse-mset10"]),
    ("delimit_replies", &["delimit-64", "delimit-16k", "delimit-mget10"]),
    ("route_keys", &["route-ketama", "route-modula"]),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => {
            for (function, cases) in COUNTED {
                cases.iter().for_each(|case| println!("{case}\t{function}"));
            }
            ExitCode::SUCCESS
        }
        [case, rounds] => match rounds.parse().ok().and_then(|rounds| run(case, rounds)) {
            Some(requests) => {
                println!("{requests}");
                ExitCode::SUCCESS
            }
            None => ExitCode::from(2),
        },
        // `cargo bench` and `cargo test --benches` come without a case: nothing is measured by running it bare.
        _ => ExitCode::SUCCESS,
    }
}

/// How many requests the case took; `None` if there is no such case.
fn run(case: &str, rounds: usize) -> Option<usize> {
    exchange::run(case, rounds).or_else(|| parts::run(case, rounds))
}
