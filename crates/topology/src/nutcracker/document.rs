//! YAML as Twemproxy takes it: pool, key, value; every text with the line it stands in.
//!
//! ```yaml
//! alpha:                  # a Section
//!   listen: 127.0.0.1:1   # an entry, a Scalar
//!   servers:              # an entry, a List
//!    - 127.0.0.1:2:1
//! ```
//!
//! Refuses the rest of YAML. Does not know the keys.

use super::{Error, Problem};
use saphyr_parser::{Event, Parser, Span, StrInput};

/// A text and the line of the file where it begins, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub line: usize,
    pub text: String,
}

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Scalar(Text),
    List(Vec<Text>),
}

/// A pool: its name, and its keys in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub name: Text,
    pub entries: Vec<(Text, Value)>,
}

/// The pools of a file, in its order.
///
/// # Errors
/// For YAML that is broken, or that Twemproxy does not take.
pub(super) fn read(text: &str) -> Result<Vec<Section>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    refuse_markers(text)?;
    let mut reader = Reader { parser: Parser::new_from_str(text), text: text.chars().collect(), pool: None };
    reader.sections().map_err(|error| match reader.pool {
        Some(pool) => error.in_pool(&pool),
        None => error,
    })
}

/// `---` and `...` begin and end documents wherever they stand at the beginning of a line, in the
/// middle of a text too. Directives need a `---` after them.
fn refuse_markers(text: &str) -> Result<(), Error> {
    for (line, content) in (1..).zip(text.lines()) {
        let is_marker = |marker| {
            let rest = content.strip_prefix(marker);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        };
        if is_marker("---") || is_marker("...") {
            return Err(syntax(line, "a document marker (--- or ...)", "the pools alone"));
        }
    }
    Ok(())
}

fn syntax(line: usize, what: &'static str, instead: &'static str) -> Error {
    Error::new(line, Problem::Syntax { what, instead })
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// The same text, where the parser's places are indexes.
    text: Vec<char>,
    /// The pool that is being read, for errors.
    pool: Option<String>,
}

/// An event that is left when the rest of YAML has been refused.
enum Node {
    Scalar(Text),
    Mapping { line: usize },
    List { line: usize },
    End,
}

impl Reader<'_> {
    fn sections(&mut self) -> Result<Vec<Section>, Error> {
        match self.next()? {
            Node::Mapping { .. } => {}
            Node::End => return Ok(Vec::new()),
            Node::Scalar(Text { line, .. }) => {
                return Err(syntax(line, "a text alone", "a pool's name with a colon, as in \"alpha:\""));
            }
            Node::List { line } => {
                return Err(syntax(
                    line,
                    "a list of pools",
                    "each pool's name with a colon, as in \"alpha:\"",
                ));
            }
        }
        let mut sections = Vec::new();
        while let Some(name) = self.name()? {
            self.pool = Some(name.text.clone());
            let entries = match self.next()? {
                Node::Mapping { .. } => self.entries()?,
                _ => {
                    let instead = "the pool's keys below its name, indented, as in \"  listen: host:port\"";
                    return Err(syntax(name.line, "a pool without keys", instead));
                }
            };
            sections.push(Section { name, entries });
            self.pool = None;
        }
        // Whatever follows the pools is another document, or broken.
        match self.next()? {
            Node::End => Ok(sections),
            Node::Scalar(Text { line, .. }) | Node::Mapping { line } | Node::List { line } => {
                Err(syntax(line, "more after the pools", "one document"))
            }
        }
    }

    fn entries(&mut self) -> Result<Vec<(Text, Value)>, Error> {
        let mut entries = Vec::new();
        while let Some(key) = self.name()? {
            let value = match self.next()? {
                Node::Scalar(text) => Value::Scalar(text),
                Node::List { .. } => Value::List(self.items()?),
                Node::Mapping { line } => {
                    return Err(syntax(line, "a third level of keys", "a value, or a list of servers"));
                }
                Node::End => return Err(syntax(key.line, "a key without a value", "a value behind it")),
            };
            entries.push((key, value));
        }
        Ok(entries)
    }

    /// The next key of a mapping; None at its end.
    fn name(&mut self) -> Result<Option<Text>, Error> {
        match self.next()? {
            Node::Scalar(text) => Ok(Some(text)),
            Node::End => Ok(None),
            Node::Mapping { line } | Node::List { line } => {
                Err(syntax(line, "a key that is not a text", "a name"))
            }
        }
    }

    fn items(&mut self) -> Result<Vec<Text>, Error> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Node::Scalar(text) => items.push(text),
                Node::End => return Ok(items),
                Node::Mapping { line } | Node::List { line } => {
                    return Err(syntax(line, "a list item with a list or keys in it", "one text an item"));
                }
            }
        }
    }

    fn next(&mut self) -> Result<Node, Error> {
        loop {
            let (event, span) = match self.parser.next_event() {
                None => return Ok(Node::End),
                Some(Ok(next)) => next,
                Some(Err(error)) => {
                    let line = error.marker().line().max(1);
                    return Err(Error::new(line, Problem::Yaml(error.info().to_owned())));
                }
            };
            let line = span.start.line().max(1);
            return match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {
                    continue;
                }
                Event::Alias(_) => Err(syntax(line, "an alias (*)", "the value itself")),
                Event::Scalar(_, _, anchor, Some(_)) | Event::Scalar(_, _, anchor @ 1.., _) => {
                    Err(anchor_or_tag(line, anchor))
                }
                Event::Scalar(text, ..) => Ok(Node::Scalar(Text { line, text: text.into_owned() })),
                Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                    if anchor > 0 || tag.is_some() =>
                {
                    Err(anchor_or_tag(line, anchor))
                }
                Event::SequenceStart(..) if self.begins_with('[', span) => {
                    Err(syntax(line, "a list in brackets", "each item on a line of its own, behind \"- \""))
                }
                Event::MappingStart(..) if self.begins_with('{', span) => {
                    let instead = "each key on a line of its own, or quotes around the braces";
                    Err(syntax(line, "a mapping in braces", instead))
                }
                Event::SequenceStart(..) => Ok(Node::List { line }),
                Event::MappingStart(..) => Ok(Node::Mapping { line }),
                Event::SequenceEnd | Event::MappingEnd | Event::StreamEnd => Ok(Node::End),
            };
        }
    }

    /// A block collection begins with its first item, which cannot begin with a bracket itself
    /// without being a collection that is refused.
    fn begins_with(&self, bracket: char, span: Span) -> bool {
        self.text.get(span.start.index()) == Some(&bracket)
    }
}

fn anchor_or_tag(line: usize, anchor: usize) -> Error {
    match anchor {
        0 => syntax(line, "a tag (!)", "the value alone"),
        _ => syntax(line, "an anchor (&)", "the value alone"),
    }
}
