//! What the responder answers to a request.

use std::io;

use tiny_http::{Header, Method, Response};

use crate::decide::name::RunId;
use crate::decide::observed::CHALLENGE_PATH;
use crate::decide::route::RUN_HEADER;

/// The account key's thumbprint and the run, which all answers are made of.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    thumbprint: String,
    run: String,
}

impl Answers {
    pub(super) fn new(thumbprint: &str, run: &RunId) -> Self {
        Self {
            thumbprint: thumbprint.to_owned(),
            run: run.to_string(),
        }
    }

    /// The answer to a request. A `HEAD` is answered like a `GET`; tiny_http leaves the body out.
    pub(super) fn to(&self, method: &Method, url: &str) -> Response<io::Cursor<Vec<u8>>> {
        let token = token(url);
        let (status, body) = match (method, token) {
            (Method::Get | Method::Head, Some(token)) => (200, format!("{token}.{}", self.thumbprint)),
            (Method::Get | Method::Head, None) => (404, "not a challenge\n".to_owned()),
            _ => (405, "only GET and HEAD\n".to_owned()),
        };
        let mut response = Response::from_data(body).with_status_code(status);
        let mut fields = vec![
            ("Content-Type", "text/plain"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            (RUN_HEADER, &self.run),
        ];
        if status == 405 {
            fields.push(("Allow", "GET, HEAD"));
        }
        for (name, value) in fields {
            // None of these fails: the names are ours, and a run's id is a valid header value.
            if let Ok(header) = Header::from_bytes(name, value) {
                response.add_header(header);
            }
        }
        response
    }
}

/// The token in a request's target, if it is well-formed: base64url of at least 128 bits (RFC 8555 section 8.3).
fn token(target: &str) -> Option<&str> {
    // A server must also accept a target with scheme and host (RFC 9112 section 3.2.2).
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => &rest[rest.find('/')?..],
        _ => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    let token = path.strip_prefix(CHALLENGE_PATH)?.strip_prefix('/')?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ((22..=128).contains(&token.len()) && token.bytes().all(letters)).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

    #[test]
    fn only_well_formed_tokens_under_the_path_are_tokens() {
        let longest = "a".repeat(128);
        let path = format!("{CHALLENGE_PATH}/{TOKEN}");
        for (target, expected) in [
            (path.clone(), Some(TOKEN)),
            (format!("{path}?x=1"), Some(TOKEN)),
            (format!("http://a.example{path}"), Some(TOKEN)),
            (format!("HTTP://a.example:80{path}"), Some(TOKEN)),
            (format!("{CHALLENGE_PATH}/{longest}"), Some(longest.as_str())),
            (format!("{CHALLENGE_PATH}/{longest}a"), None),
            (format!("{CHALLENGE_PATH}/{}", "a".repeat(22)), Some(&longest[..22])),
            (format!("{CHALLENGE_PATH}/{}", "a".repeat(21)), None),
            (format!("{path}/"), None),
            (format!("{path}%2e"), None),
            (format!("{path}="), None),
            (format!("/x{path}"), None),
            (format!("{CHALLENGE_PATH}{TOKEN}"), None),
            (format!("ftp://a.example{path}"), None),
            ("http://a.example".to_owned(), None),
            ("/".to_owned(), None),
            ("*".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(token(&target), expected, "{target:?}");
        }
    }
}
