//! Requests and responses of the admin listener, without its sockets (RFC 9112, HTTP/1.1).
//!
//! One request a connection, bodies by `Content-Length` alone. Does not know routes; [`crate::io::http`]
//! reads and writes.

use std::fmt;

pub use query::Query;

mod query;
#[cfg(test)]
mod tests;

/// The most header fields that a request may have.
const HEADERS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are HTTP's")]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// A request, whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// GET, POST, PUT or DELETE.
    pub method: Method,
    /// The path as it was sent, beginning with `/`, percent signs untouched, without the query.
    pub path: String,
    /// What stands behind the first `?`; empty without one.
    pub query: String,
    /// The `Host` field as it was sent; None without one. Two are refused.
    pub host: Option<String>,
    /// Whether there is an `Origin` field: browsers send it with every POST and DELETE, programs do not.
    pub has_origin: bool,
    /// The `Authorization` field as it was sent; None without one. Two are refused. A secret: never logged.
    pub authorization: Option<String>,
    /// At most [`Limits::body_bytes`](crate::io::http::Limits).
    pub body: Vec<u8>,
}

impl fmt::Debug for Request {
    /// All but the secret and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}?{} ({} bytes)", self.method, self.path, self.query, self.body.len())
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code, as 200.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response of plain text.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Response { status, content_type: "text/plain; charset=utf-8", body: body.into().into_bytes() }
    }

    /// A response of JSON.
    #[must_use]
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Response { status, content_type: "application/json", body: body.into().into_bytes() }
    }

    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let allow = match self.status {
            401 => "WWW-Authenticate: Bearer\r\n",
            405 => "Allow: GET, POST, PUT, DELETE\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
        );
        [head.as_bytes(), &self.body].concat()
    }
}

/// A request up to its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request, its body still empty.
    pub request: Request,
    /// Where the body begins in the bytes that were read.
    pub body_at: usize,
    /// How long the body is.
    pub body_bytes: usize,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Why a request is not taken; each has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP/1.x.
    #[error("not an HTTP/1.1 request")]
    Malformed,
    /// A path that does not begin with `/`.
    #[error("the target must be a path")]
    Target,
    /// A method other than the four.
    #[error("only GET, POST, PUT and DELETE are served")]
    Method,
    /// Two `Host` fields, or one that is no text.
    #[error("Host is not one name")]
    Host,
    /// Two `Authorization` fields, or one that is no text.
    #[error("Authorization is not one text")]
    Authorization,
    /// A `Content-Length` that is no number, or several that differ.
    #[error("Content-Length is not one number")]
    Length,
    /// A body of unknown length.
    #[error("Transfer-Encoding is not served, send Content-Length")]
    TransferEncoding,
    /// A head longer than the limit, or with too many fields.
    #[error("the header is too large")]
    HeadTooLarge,
    /// A body longer than the limit.
    #[error("the body is too large")]
    BodyTooLarge,
    /// Bytes that did not come in time.
    #[error("the request did not come in time")]
    Slow,
    /// More connections than the limit.
    #[error("too many connections")]
    Busy,
}

impl Refusal {
    /// The response that says so.
    #[must_use]
    pub fn response(self) -> Response {
        let status = match self {
            Refusal::Malformed
            | Refusal::Target
            | Refusal::Host
            | Refusal::Authorization
            | Refusal::Length => 400,
            Refusal::Method => 405,
            Refusal::Slow => 408,
            Refusal::BodyTooLarge => 413,
            Refusal::HeadTooLarge => 431,
            Refusal::TransferEncoding => 501,
            Refusal::Busy => 503,
        };
        Response::text(status, format!("{self}\n"))
    }
}

/// Reads the head of a request from the bytes so far; None when it needs more.
///
/// # Errors
/// A [`Refusal`], final whatever may follow.
pub fn parse_head(bytes: &[u8], head_max: usize, body_max: usize) -> Result<Option<Head>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let body_at = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= head_max => length,
        Ok(httparse::Status::Partial) if bytes.len() < head_max => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(_) => return Err(Refusal::Malformed),
    };
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        Some("PUT") => Method::Put,
        Some("DELETE") => Method::Delete,
        _ => return Err(Refusal::Method),
    };
    let target = parsed.path.filter(|target| target.starts_with('/')).ok_or(Refusal::Target)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut length = None;
    let mut expects_continue = false;
    let mut host = None;
    let mut has_origin = false;
    let mut authorization = None;
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Refusal::TransferEncoding);
        } else if header.name.eq_ignore_ascii_case("expect") {
            expects_continue = header.value.eq_ignore_ascii_case(b"100-continue");
        } else if header.name.eq_ignore_ascii_case("origin") {
            has_origin = true;
        } else if header.name.eq_ignore_ascii_case("host") {
            let text = std::str::from_utf8(header.value).map_err(|_| Refusal::Host)?;
            // RFC 9112, 3.2: more than one is answered 400.
            if host.replace(text.trim().to_owned()).is_some() {
                return Err(Refusal::Host);
            }
        } else if header.name.eq_ignore_ascii_case("authorization") {
            let text = std::str::from_utf8(header.value).map_err(|_| Refusal::Authorization)?;
            if authorization.replace(text.trim().to_owned()).is_some() {
                return Err(Refusal::Authorization);
            }
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let this = content_length(header.value)?;
            // Two that differ are how requests are smuggled past a proxy (RFC 9112, 6.3).
            if length.replace(this).is_some_and(|before| before != this) {
                return Err(Refusal::Length);
            }
        }
    }
    let body_bytes = match usize::try_from(length.unwrap_or(0)) {
        Ok(length) if length <= body_max => length,
        _ => return Err(Refusal::BodyTooLarge),
    };
    let (path, query) = (path.to_owned(), query.to_owned());
    let request = Request { method, path, query, host, has_origin, authorization, body: Vec::new() };
    Ok(Some(Head { request, body_at, body_bytes, expects_continue }))
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_| Refusal::Length)?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Length);
    }
    // Digits that do not fit are a number all the same, and a large one.
    Ok(text.parse().unwrap_or(u64::MAX))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "",
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        })
    }
}
