//! Makes the command table again: `testdata/resp/commands.tsv` from a running server, and the Rust
//! beside `command.rs` from that file. The crate's README tells how.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool: it reads files and a server"
)]

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::{env, fs};

use shoal_resp::{encode, parse_frame};

use facts::Row;

mod facts;

const USAGE: &str = "usage: command-table tsv HOST:PORT FILE   takes the facts of a running server into FILE
       command-table rust FILE FOLDER     writes id.rs and table.rs from FILE into FOLDER";

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tsv", server, file] => {
            let rows = merged(read(file).unwrap_or_default(), served(server)?);
            let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
            fs::write(file, format!("{}\n{lines}", facts::HEADER))
        }
        ["rust", file, folder] => {
            let rows = read(file)?;
            fs::write(format!("{folder}/id.rs"), ids(&rows))?;
            fs::write(format!("{folder}/table.rs"), table(&rows))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    }
}

fn read(file: &str) -> io::Result<Vec<Row>> {
    let text = fs::read_to_string(file)?;
    text.lines().skip(1).map(|line| Row::parse(line).ok_or_else(|| wrong(line))).collect()
}

/// What the server at `address` tells about its commands.
fn served(address: &str) -> io::Result<Vec<Row>> {
    let mut server = TcpStream::connect(address)?;
    let mut request = Vec::new();
    encode::command(&mut request, &[b"COMMAND"]);
    encode::command(&mut request, &[b"COMMAND", b"DOCS"]);
    // With QUIT the server closes behind its last reply.
    encode::command(&mut request, &[b"QUIT"]);
    server.write_all(&request)?;
    let mut reply = Vec::new();
    server.read_to_end(&mut reply)?;
    let whole = |bytes| parse_frame(bytes).ok().flatten().ok_or_else(|| wrong("the server's reply"));
    let (commands, len) = whole(&reply)?;
    let (docs, _) = whole(&reply[len..])?;
    let mut rows = Vec::new();
    for entry in commands.as_elements().unwrap_or_default() {
        let name = entry.as_elements().and_then(|fields| fields.first()?.as_text()).unwrap_or_default();
        facts::value(&docs, &String::from_utf8_lossy(name))
            .and_then(|docs| Row::from_server(entry, docs, &mut rows))
            .ok_or_else(|| wrong(&String::from_utf8_lossy(name)))?;
    }
    Ok(rows)
}

/// The server's rows, with those columns and rows of the file that it doesn't know.
fn merged(file: Vec<Row>, mut rows: Vec<Row>) -> Vec<Row> {
    for old in file {
        match rows.iter_mut().find(|row| row.name == old.name) {
            Some(row) => row.unreported = old.unreported,
            None => rows.push(old),
        }
    }
    rows.sort();
    rows
}

fn ids(rows: &[Row]) -> String {
    let mut out = String::from(
        "//! Generated from testdata/resp/commands.tsv by the example `command-table`: change that, not this.\n\n\
         /// A command or subcommand, to match on.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n\
         #[expect(missing_docs, reason = \"the names are the commands'\")]\n\
         #[non_exhaustive]\n\
         #[repr(u16)]\n\
         pub enum CommandId {\n",
    );
    for row in rows {
        let _ = writeln!(out, "    {},", camel(&row.name));
    }
    out + "}\n"
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "//! Generated from testdata/resp/commands.tsv by the example `command-table`: change that, not this.\n\n\
         use super::row::{channels, migrate, none, numkeys, range, row, store, streams};\n\
         use super::Command;\n\n\
         #[rustfmt::skip]\n\
         pub(super) static COMMANDS: &[Command] = &[\n",
    );
    for row in rows.iter().filter(|row| !row.name.contains('|')) {
        let subs: Vec<&Row> = rows
            .iter()
            .filter(|sub| sub.name.split_once('|').is_some_and(|(name, _)| name == row.name))
            .collect();
        if subs.is_empty() {
            let _ = writeln!(out, "    row!({}, []),", fields(row));
        } else {
            let _ = writeln!(out, "    row!({}, [", fields(row));
            for sub in subs {
                let _ = writeln!(out, "        row!({}, []),", fields(sub));
            }
            out.push_str("    ]),\n");
        }
    }
    out + "];\n"
}

fn fields(row: &Row) -> String {
    let constants = |words: &[&[String]]| words.concat().join(" ").to_uppercase();
    let (find, numbers) = row.keys.split_once(' ').unwrap_or((&row.keys, ""));
    format!(
        "{:?} {}, {}, [{}], [{}], {find}({}), {} {:?}, {} {}",
        row.name,
        camel(&row.name),
        row.arity,
        constants(&[&row.flags, &row.unreported]),
        constants(&[&row.categories]),
        numbers.replace(' ', ", "),
        match row.group.as_str() {
            "pubsub" => "PubSub".to_owned(),
            "hyperloglog" => "HyperLogLog".to_owned(),
            group => camel(group),
        },
        row.since,
        camel(&row.spread),
        camel(&row.join),
    )
}

/// `XGROUP|CREATE` as `XgroupCreate`.
fn camel(name: &str) -> String {
    let mut camel = String::new();
    for word in name.split(['|', '_', '-']) {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(&letters.as_str().to_lowercase());
    }
    camel
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not understood: {what}"))
}
