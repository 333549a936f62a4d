//! Keeps browsers out. A page from anywhere can make a browser on this machine send requests to loopback; it cannot keep the
//! browser from saying so.

use std::net::IpAddr;

use shoal_telemetry::http::{Method, Request, Response};

use super::refusal;

/// Paths that tell nothing about clients, and that are fetched under any name.
const HARMLESS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

/// The refusal of a request that a web page may have made.
///
/// * A change with an `Origin`: browsers send it with every POST and DELETE, other programs do not.
/// * On loopback, a `Host` that is a name: the page's own name was made to point here (DNS rebinding), and the page would read
///   the answer. Programs say `localhost` or an address.
pub fn refuse(request: &Request, is_loopback: bool) -> Option<Response> {
    if request.has_origin && request.method != Method::Get {
        return Some(refusal(403, "a web page may not change anything here: the request has an Origin"));
    }
    let is_harmless = request.method == Method::Get && HARMLESS.contains(&request.path.as_str());
    let host = request.host.as_deref().unwrap_or("localhost");
    if is_loopback && !is_harmless && !is_local(host) {
        return Some(refusal(403, "Host is a name: ask by an address, or by localhost"));
    }
    None
}

/// Whether `host`, with its port or without, is an address or `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, path: &str, host: Option<&str>, has_origin: bool) -> Request {
        let host = host.map(str::to_owned);
        let (path, query) = (path.into(), String::new());
        Request { method, path, query, host, has_origin, authorization: None, body: Vec::new() }
    }

    #[test]
    fn what_a_page_could_send_is_refused() {
        let (own, foreign) = (Some("127.0.0.1:9180"), Some("evil.example:9180"));
        let cases = [
            (Method::Delete, "/sessions/1", own, true, true, true),
            (Method::Post, "/reload", own, true, true, true),
            (Method::Post, "/reload", Some("shoal"), true, false, true),
            (Method::Post, "/reload", own, false, true, false),
            (Method::Post, "/reload", foreign, false, true, true),
            (Method::Get, "/sessions", foreign, false, true, true),
            (Method::Get, "/sessions", Some("127.0.0.1.evil.example"), false, true, true),
            (Method::Get, "/sessions", foreign, false, false, false),
            (Method::Get, "/sessions", own, true, true, false),
            (Method::Get, "/sessions", Some("localhost:9180"), false, true, false),
            (Method::Get, "/sessions", Some("[::1]:9180"), false, true, false),
            (Method::Get, "/sessions", Some("::1"), false, true, true),
            (Method::Get, "/sessions", None, false, true, false),
            (Method::Get, "/metrics", foreign, false, true, false),
        ];
        for (method, path, host, has_origin, is_loopback, is_refused) in cases {
            let refused = refuse(&request(method, path, host, has_origin), is_loopback);
            assert_eq!(refused.is_some(), is_refused, "{method} {path} {host:?} {has_origin} {is_loopback}");
        }
    }
}
