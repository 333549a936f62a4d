//! `commands.tsv`: one call a line, and what it answers through either proxy.

use std::fmt;

use super::data::testdata;
use crate::escape;

/// One line of `commands.tsv`.
#[derive(Clone, Debug)]
pub struct CommandRow {
    /// Where it stands.
    pub line: usize,
    /// The command's name.
    pub command: String,
    /// How Twemproxy treats the command: which arguments are keys, and how many it takes.
    pub class: String,
    /// Calls that come before, through the same proxy.
    pub setup: Vec<Vec<Vec<u8>>>,
    /// The call itself, as text.
    pub call: String,
    /// What the real one answers.
    pub nutcracker: Answered,
    /// What ours answers.
    pub ours: Answered,
    /// The row of `differences.yaml` where they are not the same.
    pub difference: Option<String>,
}

/// What a call answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// What a plain redis-server answers to the same setup and call (`=`).
    AsServer,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A reply that starts so (`starts:`).
    Starts(Vec<u8>),
    /// These bytes, then the end of the connection (`closed`, `closed:`).
    Closed(Vec<u8>),
}

impl CommandRow {
    /// The words of the call.
    ///
    /// # Panics
    /// When an escape is broken.
    #[must_use]
    pub fn words(&self) -> Vec<Vec<u8>> {
        escape::words(&self.call).expect("a call in commands.tsv")
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsServer => write!(f, "what the server answers"),
            Self::Bytes(bytes) => write!(f, "{}", escape::show(bytes)),
            Self::Starts(start) => write!(f, "a start of {}", escape::show(start)),
            Self::Closed(bytes) => write!(f, "the end after {}", escape::show(bytes)),
        }
    }
}

/// Reads the table.
///
/// # Panics
/// When it is not there or a line has not the right form.
#[track_caller]
#[must_use]
pub fn command_rows() -> Vec<CommandRow> {
    let text = std::fs::read_to_string(testdata().join("commands.tsv")).expect("commands.tsv");
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|(index, line)| match row(index + 1, line) {
            Ok(row) => row,
            Err(why) => panic!("commands.tsv, line {}: {why}", index + 1),
        })
        .collect()
}

fn row(line: usize, text: &str) -> Result<CommandRow, String> {
    let columns: Vec<&str> = text.split('\t').collect();
    let [command, class, setup, call, nutcracker, ours, difference] = columns[..] else {
        return Err(format!("{} columns, not 7", columns.len()));
    };
    let setup =
        setup.split("; ").filter(|call| !call.is_empty()).map(escape::words).collect::<Result<_, _>>()?;
    let nutcracker = answered(nutcracker)?;
    Ok(CommandRow {
        line,
        command: command.to_owned(),
        class: class.to_owned(),
        setup,
        call: call.to_owned(),
        ours: if ours.is_empty() { nutcracker.clone() } else { answered(ours)? },
        nutcracker,
        difference: (!difference.is_empty()).then(|| difference.to_owned()),
    })
}

fn answered(cell: &str) -> Result<Answered, String> {
    Ok(match cell.split_once(':') {
        _ if cell == "=" => Answered::AsServer,
        _ if cell == "closed" => Answered::Closed(Vec::new()),
        Some(("starts", start)) => Answered::Starts(escape::unescape(start)?),
        Some(("closed", bytes)) => Answered::Closed(escape::unescape(bytes)?),
        _ if cell.is_empty() => return Err("no expectation".to_owned()),
        _ => Answered::Bytes(escape::unescape(cell)?),
    })
}
