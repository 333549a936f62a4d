//! Walks `testdata/nutcracker/commands.tsv`: every command that Twemproxy supports, rightly called and with
//! a wrong count, through the real nutcracker, through ours, and at a plain redis-server.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_e2e::cases::{Answered, CommandRow, Side, command_rows};
use shoal_e2e::{Config, End, Pool, RawClient, RedisServer, Workplace, escape};

#[test]
fn the_table_is_true_of_the_real_nutcracker() {
    walk(&Side::Nutcracker);
}

#[test]
fn ours_answers_as_the_table_says() {
    walk(&Side::Shoal);
}

#[test]
fn a_switch_restores_nutcrackers_way() {
    for side in Side::switched() {
        walk(&side);
    }
}

#[test]
fn each_supported_command_is_called_rightly_and_wrongly() {
    let mut calls: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    for row in command_rows() {
        let (right, wrong) = calls.entry((row.class.clone(), row.command.clone())).or_default();
        // The first call of a command is the right one.
        if *right == 0 {
            *right += 1;
        } else {
            *wrong += 1;
        }
        let differs = row.nutcracker != row.ours;
        assert_eq!(differs, row.difference.is_some(), "commands.tsv, line {}", row.line);
    }
    // LOLWUT takes any count; QUIT and COMMAND stand in protocol.yaml.
    let takes_any = ["LOLWUT", "QUIT", "COMMAND"];
    for ((class, command), (_, wrong)) in calls {
        let supported = !["unsupported", "greeting", "beyond"].contains(&class.as_str());
        let exempt = !supported || takes_any.contains(&command.as_str());
        assert!(exempt || wrong > 0, "{command}: no call with a wrong count");
    }
}

fn walk(side: &Side) {
    let workplace = Workplace::new();
    let plain = RedisServer::start(&workplace, &[]);
    let shards = [RedisServer::start(&workplace, &[]), RedisServer::start(&workplace, &[])];
    let lines = shards.iter().enumerate().map(|(index, shard)| format!("{}:1 s{index}", shard.addr()));
    let pool = Pool::new("alpha", lines.collect())
        .key("hash", "fnv1a_64")
        .key("distribution", "modula")
        .key("hash_tag", "\"{}\"");
    let config = Config::of(pool);
    let proxy = side.start(&workplace, &config);
    let mut servers: Vec<RawClient> = shards.iter().chain([&plain]).map(RedisServer::client).collect();
    let rows = command_rows();
    let mut failures = Vec::new();
    for row in &rows {
        for server in &mut servers {
            server.call(&["FLUSHALL"]);
        }
        // The rest is not for a plain server: SHUTDOWN is in it.
        let compares = [&row.nutcracker, &row.ours].contains(&&Answered::AsServer);
        let at_server = compares.then(|| answer_of(plain.client(), row));
        let through_proxy = answer_of(proxy.client("alpha"), row);
        let expected = match &row.difference {
            Some(difference) if !side.is_as_twemproxy(difference) => &row.ours,
            _ => &row.nutcracker,
        };
        if !holds(expected, at_server.as_ref(), &through_proxy) {
            let at_server = at_server.map_or_else(|| "not asked".to_owned(), |got| got.to_string());
            failures.push(format!(
                "line {}: {}\n  expected {expected}\n       got {through_proxy}\n at server {at_server}",
                row.line, row.call
            ));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

/// What a call was answered with.
struct Got {
    reply: Vec<u8>,
    /// Whether the connection ended by itself.
    closed: bool,
    /// What came after the reply and should not have.
    rest: Vec<u8>,
}

impl std::fmt::Display for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.closed { ", then closed" } else { "" };
        write!(f, "{}{end}", escape::show(&self.reply))?;
        if self.rest.is_empty() { Ok(()) } else { write!(f, ", then {}", escape::show(&self.rest)) }
    }
}

fn answer_of(mut client: RawClient, row: &CommandRow) -> Got {
    for words in &row.setup {
        client.call(words);
    }
    client.send_command(&row.words());
    let (reply, closed) = match client.reply() {
        Ok(reply) => (reply, false),
        Err((end, reply)) => (reply, end == End::Closed),
    };
    if closed {
        return Got { reply, closed, rest: Vec::new() };
    }
    // Whether it stays shows in what comes to a PING: the answer and nothing else, or the end.
    client.send_command(&["PING"]);
    client.half_close();
    client.set_deadline(Duration::from_secs(3));
    let (rest, end) = client.read_up_to(usize::MAX);
    match rest.strip_suffix(b"+PONG\r\n") {
        Some(rest) => Got { reply, closed: false, rest: rest.to_vec() },
        None => Got { reply, closed: end == End::Closed, rest },
    }
}

fn holds(expected: &Answered, at_server: Option<&Got>, got: &Got) -> bool {
    let (reply, closed) = match expected {
        Answered::AsServer => {
            at_server.map_or((false, false), |at_server| (got.reply == at_server.reply, at_server.closed))
        }
        Answered::Bytes(bytes) => (got.reply == *bytes, false),
        Answered::Starts(start) => (got.reply.starts_with(start), false),
        Answered::Closed(bytes) => (got.reply == *bytes, true),
    };
    reply && got.closed == closed && got.rest.is_empty()
}
