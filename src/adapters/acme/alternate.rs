//! The other chains that a CA offers for a certificate (RFC 8555 section 7.4.2): links to them are in a header that the library drops,
//! and they are read with requests that this signs itself.

use http::HeaderMap;
use http::header::LINK;
use ring::signature::EcdsaKeyPair;

use super::NONCE_ROUNDS;
use super::error::{AcmeError, Cause};
use super::exchange::watched;
use super::http::{Answer, Http};
use super::patience::Patience;
use super::registration::{Identity, signed};

/// No CA offers so many; one that does must not keep a run busy.
const MOST_CHAINS: usize = 8;

/// The URLs of the other chains, as an answer names them.
pub(super) fn alternates(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(LINK).iter().filter_map(|line| line.to_str().ok());
    let links = lines.flat_map(|line| line.split(',').filter_map(alternate));
    links.take(MOST_CHAINS).collect()
}

/// The target of one link (RFC 8288 section 3), if it is to another chain.
fn alternate(link: &str) -> Option<String> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_alternate = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let mut relations = value.trim().trim_matches('"').split(' ');
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|it| it.eq_ignore_ascii_case("alternate"))
    };
    parameters.split(';').any(is_alternate).then(|| target.to_owned())
}

/// Signs requests of an account. It has no `Debug`: it holds the key.
pub(super) struct Reader {
    pub(super) key: EcdsaKeyPair,
    pub(super) account: String,
    pub(super) http: Http,
    pub(super) new_nonce: String,
}

impl Reader {
    /// One chain in PEM, as sent.
    pub(super) async fn chain(&self, url: &str) -> Result<String, AcmeError> {
        let mut patience = Patience::brief();
        loop {
            let (read, exchange) = watched(self.post_as_get(url)).await;
            let failure = match read.and_then(text) {
                Ok(chain) => return Ok(chain),
                Err(cause) => AcmeError::new("read another chain of the certificate", url, cause),
            };
            patience.rest(failure.after(exchange.as_ref())).await?;
        }
    }

    /// RFC 8555 section 6.3.
    async fn post_as_get(&self, url: &str) -> Result<Answer, Cause> {
        let mut round = 0;
        loop {
            round += 1;
            let nonce = self.http.nonce(&self.new_nonce).await?;
            let body = signed(&self.key, Identity::Account(&self.account), &nonce, url, String::new())?;
            let answer = self.http.post(url, body).await?;
            if answer.parts.status.is_success() {
                return Ok(answer);
            }
            match answer.into_cause() {
                Cause::Problem(problem) if problem.kind == "badNonce" && round < 3 * NONCE_ROUNDS => {}
                cause => return Err(cause),
            }
        }
    }
}

fn text(answer: Answer) -> Result<String, Cause> {
    match String::from_utf8(answer.body.to_vec()) {
        Ok(chain) if chain.contains("-----BEGIN CERTIFICATE-----") => Ok(chain),
        _ => Err(Cause::Unreadable {
            reason: "the answer is no certificate".into(),
            beginning: answer.beginning(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn links_to_other_chains_are_found_among_others() {
        let mut headers = HeaderMap::new();
        for line in [
            r#"<https://ca/dir>;rel="index""#,
            r#"<https://ca/cert/1/1>;rel="alternate", <https://ca/cert/1/2>; title="x"; Rel=alternate"#,
            r#"<https://ca/up>;rel="up""#,
            "nonsense;rel=alternate",
        ] {
            headers.append(LINK, HeaderValue::from_static(line));
        }
        assert_eq!(alternates(&headers), ["https://ca/cert/1/1", "https://ca/cert/1/2"]);
        for n in 0..20 {
            let line = format!("<https://ca/more/{n}>;rel=alternate");
            headers.append(LINK, HeaderValue::from_str(&line).expect("a header"));
        }
        assert_eq!(alternates(&headers).len(), MOST_CHAINS);
    }
}
