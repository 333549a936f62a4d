//! A command's facts as one line of `testdata/resp/commands.tsv`, and as a server tells them.

#![allow(
    dead_code,
    missing_docs,
    reason = "the example and the tests use different parts; the columns are the file's"
)]

use std::fmt;

use shoal_resp::Frame;
use shoal_resp::command::{Command, Keys};

/// The file's first line.
pub const HEADER: &str = "name\tarity\tflags\tunreported\tcategories\tkeys\tgroup\tsince\tspread\tjoin";

/// Flags that Redis keeps from `COMMAND`'s reply. They stand in a column of their own, which no server fills.
pub const UNREPORTED: [&str; 2] = ["may_replicate", "touches_arbitrary_keys"];

/// What the tips of Redis 7.0 leave open or get wrong for a pool: command, spread, join.
const DECIDED: [(&str, &str, &str); 4] = [
    // Each shard has one; which of them is the answer takes a decision.
    ("RANDOMKEY", "all_shards", "special"),
    // The tips say that all succeed together, but any shard's PONG will do.
    ("PING", "one", "first"),
    ("SLOWLOG|GET", "all_nodes", "concat"),
    ("SCRIPT|LOAD", "all_nodes", "all_ok"),
];

/// One line. All lists are of lower-case words; names are in upper case, as the table has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub name: String,
    pub arity: i16,
    pub flags: Vec<String>,
    pub unreported: Vec<String>,
    pub categories: Vec<String>,
    pub keys: String,
    pub group: String,
    pub since: String,
    pub spread: String,
    pub join: String,
}

impl Row {
    /// Reads a line; None if it isn't one.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut field = || fields.next().map(str::to_owned);
        let row = Self {
            name: field()?,
            arity: field()?.parse().ok()?,
            flags: list(&field()?),
            unreported: list(&field()?),
            categories: list(&field()?),
            keys: field()?,
            group: field()?,
            since: field()?,
            spread: field()?,
            join: field()?,
        };
        field().is_none().then_some(row)
    }

    /// What the table says about a command.
    pub fn of(command: &Command) -> Self {
        let words =
            |names: &mut dyn Iterator<Item = &'static str>| sorted(names.map(str::to_owned).collect());
        let (unreported, flags) = words(&mut command.flags.names())
            .into_iter()
            .partition(|flag| UNREPORTED.contains(&flag.as_str()));
        Self {
            name: command.name.to_owned(),
            arity: command.arity,
            flags,
            unreported,
            categories: words(&mut command.categories.names()),
            keys: keys_text(command.keys),
            group: snake(&format!("{:?}", command.group)),
            since: command.since.to_owned(),
            spread: snake(&format!("{:?}", command.spread)),
            join: snake(&format!("{:?}", command.join)),
        }
    }

    /// Reads one entry of `COMMAND`'s reply, and behind it those of its subcommands. `since` and `group`
    /// come from `docs`, that command's entry of `COMMAND DOCS`.
    pub fn from_server(entry: &Frame<'_>, docs: &Frame<'_>, rows: &mut Vec<Self>) -> Option<()> {
        let fields = entry.as_elements()?;
        let name = text(fields.first()?)?.to_uppercase();
        let Frame::Integer(arity) = *fields.get(1)? else { return None };
        let tips = words(fields.get(7)?)?;
        let (spread, join) = spread_and_join(&name, &tips);
        rows.push(Self {
            arity: arity.try_into().ok()?,
            flags: sorted(words(fields.get(2)?)?),
            unreported: Vec::new(),
            categories: sorted(
                words(fields.get(6)?)?.iter().map(|word| word.trim_start_matches('@').to_owned()).collect(),
            ),
            keys: keys_of(&name, fields.get(8)?.as_elements()?)?,
            group: text(value(docs, "group")?)?.replace('-', "_"),
            since: text(value(docs, "since")?)?,
            spread,
            join,
            name,
        });
        for sub in fields.get(9)?.as_elements()? {
            let name = text(sub.as_elements()?.first()?)?;
            Self::from_server(sub, value(value(docs, "subcommands")?, &name)?, rows)?;
        }
        Some(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(" ") };
        write!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            self.name,
            self.arity,
            list(&self.flags),
            list(&self.unreported),
            list(&self.categories),
            self.keys,
            self.group,
            self.since,
            self.spread,
            self.join
        )
    }
}

/// The value behind `key` in a RESP2 map, an array of keys and values by turns.
pub fn value<'f, 'b>(map: &'f Frame<'b>, key: &str) -> Option<&'f Frame<'b>> {
    let pairs = map.as_elements()?;
    pairs.chunks_exact(2).find(|pair| pair[0].as_text() == Some(key.as_bytes())).map(|pair| &pair[1])
}

/// `SortedSet` as `sorted_set`.
pub fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        // Families that Redis writes in one word are names of two capitals here.
        let joined = name == "PubSub" || name == "HyperLogLog";
        if letter.is_uppercase() && !snake.is_empty() && !joined {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn keys_text(keys: Keys) -> String {
    match keys {
        Keys::None => "none".to_owned(),
        Keys::Range { first, last, step } => format!("range {first} {last} {step}"),
        Keys::NumKeys { at, first, step, dest } => {
            format!("numkeys {at} {first} {step} {}", dest.unwrap_or(0))
        }
        Keys::Streams => "streams".to_owned(),
        Keys::StoreOption { key, from } => format!("store {key} {from}"),
        Keys::Migrate => "migrate".to_owned(),
        Keys::ShardChannels { first, last } => format!("channels {first} {last}"),
    }
}

fn spread_and_join(name: &str, tips: &[String]) -> (String, String) {
    if let Some((_, spread, join)) = DECIDED.iter().find(|(decided, ..)| *decided == name) {
        return ((*spread).to_owned(), (*join).to_owned());
    }
    let tip = |policy: &str| tips.iter().find_map(|tip| tip.strip_prefix(policy));
    let spread = match tip("request_policy:") {
        None => "one",
        Some("multi_shard") => "by_keys",
        Some(policy) => policy,
    };
    let join = match tip("response_policy:") {
        Some("agg_sum") => "sum",
        Some("agg_min") => "min",
        Some("agg_max") => "max",
        Some("agg_logical_and") => "and",
        Some("agg_logical_or") => "or",
        Some("all_succeeded") => "all_ok",
        Some("one_succeeded") => "one_ok",
        Some(_) => "special",
        None => match spread {
            "one" => "first",
            "by_keys" => "by_position",
            "special" => "special",
            _ => "concat",
        },
    };
    (spread.to_owned(), join.to_owned())
}

/// One key specification, as far as it tells places.
enum Spec {
    Range { first: i64, last: i64, step: i64 },
    Number { at: i64, first: i64, step: i64 },
    Word { word: String, from: i64 },
    Unknown,
}

fn keys_of(name: &str, specs: &[Frame<'_>]) -> Option<String> {
    let channels = specs.iter().any(|spec| {
        value(spec, "flags").and_then(words).is_some_and(|flags| flags.iter().any(|flag| flag == "not_key"))
    });
    let specs: Option<Vec<Spec>> = specs.iter().map(spec).collect();
    Some(match (&specs?[..], name) {
        ([], _) => "none".to_owned(),
        (_, "MIGRATE") => "migrate".to_owned(),
        (_, "SORT") => "store 1 2".to_owned(),
        ([Spec::Range { first, last, .. }], _) if channels => format!("channels {first} {last}"),
        ([Spec::Range { first, last, step }] | [Spec::Range { first, last, step }, Spec::Unknown], _) => {
            format!("range {first} {last} {step}")
        }
        ([Spec::Range { first, last: before, .. }, Spec::Range { first: next, last, .. }], _)
            if *next == before + 1 =>
        {
            format!("range {first} {last} 1")
        }
        ([Spec::Number { at, first, step }], _) => format!("numkeys {at} {first} {step} 0"),
        ([Spec::Range { first: dest, .. }, Spec::Number { at, first, step }], _) => {
            format!("numkeys {at} {first} {step} {dest}")
        }
        ([Spec::Word { word, .. }], _) if word == "STREAMS" => "streams".to_owned(),
        ([Spec::Range { first, .. }, Spec::Word { word, from }, ..], _) if word.starts_with("STORE") => {
            format!("store {first} {from}")
        }
        _ => return None,
    })
}

fn spec(frame: &Frame<'_>) -> Option<Spec> {
    let number = |frame: &Frame<'_>, key| match value(frame, key) {
        Some(Frame::Integer(number)) => Some(*number),
        _ => None,
    };
    let (begin, find) = (value(frame, "begin_search")?, value(frame, "find_keys")?);
    let (start, place) = (value(begin, "spec")?, value(find, "spec")?);
    Some(match (text(value(begin, "type")?)?.as_str(), text(value(find, "type")?)?.as_str()) {
        ("index", "range") => {
            let (first, last) = (number(start, "index")?, number(place, "lastkey")?);
            let last = if last < 0 { last } else { first + last };
            Spec::Range { first, last, step: number(place, "keystep")? }
        }
        ("index", "keynum") => {
            let index = number(start, "index")?;
            let (at, first) = (index + number(place, "keynumidx")?, index + number(place, "firstkey")?);
            Spec::Number { at, first, step: number(place, "keystep")? }
        }
        ("keyword", _) => {
            Spec::Word { word: text(value(start, "keyword")?)?, from: number(start, "startfrom")? }
        }
        _ => Spec::Unknown,
    })
}

fn list(field: &str) -> Vec<String> {
    if field == "-" { Vec::new() } else { field.split(' ').map(str::to_owned).collect() }
}

fn words(frame: &Frame<'_>) -> Option<Vec<String>> {
    frame.as_elements()?.iter().map(text).collect()
}

fn text(frame: &Frame<'_>) -> Option<String> {
    String::from_utf8(frame.as_text()?.to_vec()).ok()
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort_unstable();
    words
}
