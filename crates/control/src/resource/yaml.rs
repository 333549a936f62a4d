//! Reading what people declare, and saying where it is wrong.
//!
//! ```text
//!   file ─▶ documents (split at `---`) ─▶ kind ─▶ Object of that kind
//!                                           └─ wrong: file, line, path, what is wrong, what was probably meant
//! ```

use super::{Kind, Resource};
use crate::Error;
use serde::Deserialize;
use serde_path_to_error::Track;
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter};
use shoal_topology::nearest;

/// An object, and where it was declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The object, as written.
    pub resource: Resource,
    /// The line of its file at which its document begins, from 1.
    pub line: usize,
}

/// Reads all documents of a file; `file` is its name for messages. JSON is read too.
///
/// # Errors
/// [`Error::Declaration`] of the first thing that is wrong.
pub fn from_yaml(file: &str, text: &str) -> Result<Vec<Declared>, Error> {
    let mut declared = Vec::new();
    for document in documents(text) {
        let place = |problem: Problem| Error::Declaration {
            file: file.to_owned(),
            line: document.line + problem.line.saturating_sub(1),
            path: problem.path,
            reason: problem.reason,
        };
        let resource = read(document.text).map_err(place)?;
        declared.push(Declared { resource, line: document.line });
    }
    Ok(declared)
}

/// The YAML form: what `get --output yaml` prints.
///
/// # Errors
/// [`Error::Written`], which none of our types gives cause for.
pub fn to_yaml(resource: &Resource) -> Result<String, Error> {
    serde_saphyr::to_string(resource).map_err(|error| Error::Written { reason: error.to_string() })
}

struct Document<'t> {
    text: &'t str,
    /// At which it begins, from 1.
    line: usize,
}

/// The documents that say something. A line that begins with `---` begins a document wherever it stands (YAML 1.2, 9.1.2).
fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut begin, mut begin_line) = (0, 1);
    let mut at = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_marker && at > begin {
            documents.push(Document { text: &text[begin..at], line: begin_line });
            (begin, begin_line) = (at, index + 1);
        }
        at += line.len();
    }
    documents.push(Document { text: &text[begin..], line: begin_line });
    documents.retain(|document| !says_nothing(document.text));
    documents
}

fn says_nothing(document: &str) -> bool {
    document
        .lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "...")
}

struct Problem {
    /// Within the document, from 1.
    line: usize,
    path: String,
    reason: String,
}

/// The two fields that say how the others are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
}

fn read(document: &str) -> Result<Resource, Problem> {
    let problem = |path: String, error: &serde_saphyr::Error| {
        let line = error.location().and_then(|place| usize::try_from(place.line()).ok()).unwrap_or(1);
        Problem { line, path, reason: reason(error) }
    };
    let unshown = || serde_saphyr::options! { with_snippet: false };
    let head: Head = serde_saphyr::from_str_with_options(document, unshown())
        .map_err(|error| problem(String::new(), &error))?;
    let kind = head.kind().map_err(|(field, reason)| {
        let line = document.lines().position(|line| line.starts_with(field)).unwrap_or(0) + 1;
        Problem { line, path: field.to_owned(), reason }
    })?;
    let mut track = Track::new();
    let read = serde_saphyr::with_deserializer_from_str_with_options(document, unshown(), |yaml| {
        Resource::deserialize_as(kind, serde_path_to_error::Deserializer::new(yaml, &mut track))
    });
    read.map_err(|error| problem(path(track, &error), &error))
}

impl Head {
    fn kind(&self) -> Result<Kind, (&'static str, String)> {
        let expected = super::API_VERSION;
        match self.api_version.as_deref() {
            Some(given) if given == expected => {}
            Some(given) => return Err(("apiVersion", format!("{given:?} is not known: write {expected}"))),
            None => return Err(("apiVersion", format!("it is missing: write `apiVersion: {expected}`"))),
        }
        match self.kind.as_deref() {
            Some(given) => given.parse().map_err(|error: Error| ("kind", error.to_string())),
            None => Err(("kind", "it is missing: write `kind: Pool`, or another".to_owned())),
        }
    }
}

/// Where it is; an unknown field is named by the reason, so the path ends above it.
fn path(track: Track, error: &serde_saphyr::Error) -> String {
    let path = track.path().to_string();
    let path = match error {
        serde_saphyr::Error::SerdeUnknownField { field, .. } => {
            path.strip_suffix(field.as_str()).map_or(path.as_str(), |above| above.trim_end_matches('.'))
        }
        _ => path.as_str(),
    };
    if path == "." { String::new() } else { path.to_owned() }
}

fn reason(error: &serde_saphyr::Error) -> String {
    let among = |expected: &[&'static str], given: &str| match nearest(given, expected) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("there are {}", expected.join(", ")),
    };
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown field `{field}`, {}", among(expected, field))
        }
        serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("`{variant}` is not known, {}", among(expected, variant))
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            format!("`{}` stands twice", key.as_deref().unwrap_or("a key"))
        }
        other => DefaultMessageFormatter.format_message(other).into_owned(),
    }
}

#[cfg(test)]
mod tests;
