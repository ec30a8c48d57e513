//! The two documents that are read without a signature: the directory and the renewal information.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use serde::Deserialize;

use crate::decide::observed::RenewalWindow;

use super::error::{Cause, listed};
use super::http::Answer;

/// What is needed of a directory (RFC 8555 section 7.1.1); the library reads the rest for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DirectoryFacts {
    /// Where nonces are (RFC 8555 section 7.2).
    pub(super) new_nonce: String,
    /// Where accounts are made and found (RFC 8555 section 7.3).
    pub(super) new_account: String,
    /// Where renewal information is (RFC 9773 section 4).
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    #[serde(default)]
    pub(super) external_account_required: bool,
    /// Name and description (draft-ietf-acme-profiles section 3).
    #[serde(default)]
    pub(super) profiles: BTreeMap<String, String>,
    pub(super) terms_of_service: Option<String>,
    /// By which names CAA records know the CA (RFC 8555 section 9.7.6). A CA without any may write `null`.
    pub(super) caa_identities: Option<Vec<String>>,
}

/// Reads a directory, or says what the answer is instead.
pub(super) fn read(answer: Answer) -> Result<DirectoryFacts, Cause> {
    let document = json(answer)?;
    let text = |key: &str| document.value.get(key).and_then(|value| value.as_str());
    let missing: Vec<&str> = ["newNonce", "newAccount", "newOrder"]
        .into_iter()
        .filter(|key| text(key).is_none())
        .collect();
    if !missing.is_empty() {
        if text("new-reg").is_some() {
            return Err(Cause::Retired);
        }
        return Err(document.unreadable(format!(
            "this is not an ACME directory (RFC 8555 section 7.1.1): it has no {}",
            listed(missing)
        )));
    }
    for key in ["newNonce", "newAccount", "newOrder", "renewalInfo"] {
        if text(key).is_some_and(|url| !url.starts_with("https://")) {
            return Err(document.unreadable(format!("the directory's `{key}` is no https URL")));
        }
    }
    serde_json::from_value(document.value.clone())
        .map_err(|error| document.unreadable(format!("the directory cannot be read: {error}")))
}

/// Reads renewal information (RFC 9773 section 4.2). An end before its start means the document is to be ignored.
pub(super) fn renewal_window(answer: Answer) -> Result<RenewalWindow, Cause> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RenewalInfo {
        suggested_window: SuggestedWindow,
    }
    #[derive(Deserialize)]
    struct SuggestedWindow {
        start: String,
        end: String,
    }
    let document = json(answer)?;
    let info: RenewalInfo = serde_json::from_value(document.value.clone())
        .map_err(|error| document.unreadable(format!("this is no renewal information: {error}")))?;
    let read = |text: &str| {
        time(text).map_err(|error| document.unreadable(format!("this is no renewal information: `{text}`: {error}")))
    };
    let (start, end) = (read(&info.suggested_window.start)?, read(&info.suggested_window.end)?);
    match start < end {
        true => Ok(RenewalWindow { start, end }),
        false => Err(document.unreadable(format!("the suggested window ends at {end}, and starts at {start}"))),
    }
}

/// A time (RFC 3339). The last and the first hours that can be written are beyond what a timestamp holds: for a certificate
/// that never ends, a CA may well write one of them.
fn time(text: &str) -> Result<Timestamp, jiff::Error> {
    text.parse().or_else(|error| {
        let pieces = Pieces::parse(text).ok().filter(|pieces| pieces.offset().is_some());
        match pieces.map(|pieces| pieces.date().year()) {
            Some(9999) => Ok(Timestamp::MAX),
            Some(-9999) => Ok(Timestamp::MIN),
            _ => Err(error),
        }
    })
}

struct Document {
    value: serde_json::Value,
    beginning: String,
}

impl Document {
    fn unreadable(&self, reason: String) -> Cause {
        Cause::Unreadable {
            reason,
            beginning: self.beginning.clone(),
        }
    }
}

fn json(answer: Answer) -> Result<Document, Cause> {
    if !answer.parts.status.is_success() {
        return Err(answer.into_cause());
    }
    let beginning = answer.beginning();
    match serde_json::from_slice(&answer.body) {
        Ok(value) => Ok(Document { value, beginning }),
        Err(_) => Err(Cause::Unreadable {
            reason: "the answer is not JSON".into(),
            beginning,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let response = http::Response::builder().status(status).body(()).expect("a response");
        Answer {
            parts: response.into_parts().0,
            body: body.to_owned().into(),
        }
    }

    const URLS: &str = r#""newNonce":"https://c/n","newAccount":"https://c/a","newOrder":"https://c/o""#;

    #[test]
    fn a_directory_is_read() {
        let body = format!(
            r#"{{{URLS},"renewalInfo":"https://c/r","x":"y","meta":{{"externalAccountRequired":true,"termsOfService":"data:x","caaIdentities":["ca.example"],"profiles":{{"b":"B","a":"A"}}}}}}"#
        );
        let facts = read(answer(200, &body)).expect("a directory");
        assert_eq!(facts.renewal_info.as_deref(), Some("https://c/r"));
        assert!(facts.meta.external_account_required);
        assert_eq!(
            facts.meta.caa_identities.as_deref(),
            Some(["ca.example".to_owned()].as_slice())
        );
        assert_eq!(facts.meta.profiles.keys().collect::<Vec<_>>(), ["a", "b"]);
        let least = read(answer(200, &format!("{{{URLS}}}"))).expect("a directory");
        let expected = DirectoryFacts {
            new_nonce: "https://c/n".into(),
            new_account: "https://c/a".into(),
            ..DirectoryFacts::default()
        };
        assert_eq!(least, expected);
    }

    #[test]
    fn what_is_no_directory_says_what_it_is() {
        for (status, body, expected) in [
            (
                503,
                "<html>down</html>",
                "the server answered 503 Service Unavailable: `<html>down</html>`",
            ),
            (404, "", "the server answered 404 Not Found"),
            (
                503,
                r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"busy"}"#,
                "rateLimited: busy",
            ),
            (200, "<!doctype html>", "the answer is not JSON: `<!doctype html>`"),
            (200, "", "the answer is not JSON"),
            (200, "[]", "it has no `newNonce`, `newAccount`, `newOrder`: `[]`"),
            (
                200,
                r#"{"newNonce":"https://c/n","newOrder":1}"#,
                "this is not an ACME directory (RFC 8555 section 7.1.1): it has no `newAccount`, `newOrder`",
            ),
            (200, r#"{"new-reg":"https://c/r","new-cert":"https://c/c"}"#, "ACME v1"),
            (
                200,
                r#"{"newNonce":"http://c/n","newAccount":"https://c/a","newOrder":"https://c/o"}"#,
                "`newNonce` is no https URL",
            ),
        ] {
            let message = read(answer(status, body)).expect_err(body).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_renewal_window_is_read_or_refused() {
        let window = |start: &str, end: &str| {
            renewal_window(answer(
                200,
                &format!(r#"{{"suggestedWindow":{{"start":"{start}","end":"{end}"}},"explanationURL":"https://c/x"}}"#),
            ))
        };
        let found = window("2026-11-24T00:00:00Z", "2026-11-25T02:00:00+02:00").expect("a window");
        assert_eq!(found.end.to_string(), "2026-11-25T00:00:00Z");
        let endless = window("2026-11-24T00:00:00Z", "9999-12-31T23:59:59Z").expect("a window");
        assert_eq!(endless.end, Timestamp::MAX);
        for (start, end) in [
            ("2026-11-24T00:00:00Z", "9999-12-31T23:59:59"),
            ("2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z"),
            ("2026-11-25T00:00:00Z", "2026-11-24T00:00:00Z"),
            ("soon", "2026-11-24T00:00:00Z"),
            ("2026-11-24T00:00:00", "2026-11-25T00:00:00Z"),
        ] {
            window(start, end).expect_err(start);
        }
        for body in ["", "{}", r#"{"suggestedWindow":{}}"#, "null"] {
            renewal_window(answer(200, body)).expect_err(body);
        }
        renewal_window(answer(404, "{}")).expect_err("404");
    }
}
