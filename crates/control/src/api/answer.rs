//! What is answered: a status and a JSON object.

use super::Audit;
use crate::Error;
use crate::admission::Remark;
use crate::resource::Revision;
use crate::runtime::Refused;
use serde_json::{Value, json};

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP's status code.
    pub status: u16,
    /// A JSON object.
    pub body: Value,
    /// A watch saw nothing yet: it may go on from there, and answer later.
    pub quiet_since: Option<Revision>,
    /// What is written down of a change, or of the attempt.
    pub audit: Option<Audit>,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Denied {
    /// HTTP's status code.
    pub status: u16,
    /// The reason in one word, for programs: `Conflict`.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
    /// The fields that admission refused.
    pub reasons: Vec<Remark>,
}

impl Answer {
    /// Done, with that to say.
    #[must_use]
    pub const fn of(body: Value) -> Self {
        Answer { status: 200, body, quiet_since: None, audit: None }
    }
}

impl Denied {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Denied { status, code, message: message.into(), reasons: Vec::new() }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Denied::new(400, "BadRequest", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Denied::new(403, "Forbidden", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Denied::new(500, "Internal", message)
    }

    /// Nobody whom control knows.
    #[must_use]
    pub fn unknown_caller(has_token: bool) -> Self {
        let message = match has_token {
            false => {
                "a token is needed: send `Authorization: Bearer TOKEN`; the operator's is in tokens/operator under control's --dir"
            }
            true => {
                "the token is not known here: is it of another control, or was it revoked? The operator's is in tokens/operator under control's --dir"
            }
        };
        Denied::new(401, "Unauthorized", message)
    }
}

impl From<Denied> for Answer {
    fn from(denied: Denied) -> Self {
        let reasons: Vec<Value> = remarks(&denied.reasons);
        let mut error = json!({ "code": denied.code, "message": denied.message });
        if !reasons.is_empty() {
            error["reasons"] = reasons.into();
        }
        Answer { status: denied.status, ..Answer::of(json!({ "error": error })) }
    }
}

/// Remarks as they stand in a body.
pub(super) fn remarks(remarks: &[Remark]) -> Vec<Value> {
    remarks.iter().map(|remark| json!({ "path": remark.path, "message": remark.message })).collect()
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            Error::Declaration { .. } | Error::Quantity { .. } | Error::Kind { .. } => (400, "BadRequest"),
            Error::NotFound { .. } => (404, "NotFound"),
            Error::Exists { .. } | Error::Conflict { .. } => (409, "Conflict"),
            Error::Refused { .. } => (422, "Refused"),
            Error::StoreFull { .. } => (507, "StoreFull"),
            _ => (500, "Internal"),
        };
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(behind) = cause {
            message = format!("{message}: {behind}");
            cause = behind.source();
        }
        let reasons = if let Error::Refused { reasons, .. } = error { reasons } else { Vec::new() };
        Denied { status, code, message, reasons }
    }
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        let (status, code) = match refused {
            Refused::Gone { .. } => (404, "NotFound"),
            _ => (503, "RuntimeRefused"),
        };
        Denied::new(status, code, refused.to_string())
    }
}
