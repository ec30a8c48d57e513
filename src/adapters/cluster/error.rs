//! What a call to the API server can come to, in words for whoever reads them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use kube::client::AuthError;
use kube::core::Status;

use crate::decide::observed::Unread;

use super::target::{Target, Verb};

/// A call to the API server that failed: what was tried, on what, and why it failed.
///
/// The cause is part of the message and never the source, since kube's own errors repeat each other.
#[derive(Debug, thiserror::Error)]
#[error("could not {}: {}", self.operation(), self.cause())]
pub struct ClusterError(Box<Failure>);

#[derive(Debug)]
struct Failure {
    verb: Verb,
    target: Target,
    server: Arc<str>,
    cause: Cause,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Cause {
    /// The API server said so.
    Status(Box<Status>),
    /// There was no answer: the whole chain of sources.
    Transport(String),
    /// There is no connection, and no later try has one: credentials, or a certificate.
    Denied(String),
    /// An answer that is none.
    Unreadable(String),
    /// Whatever else: a bound that was reached.
    Other(String),
}

impl ClusterError {
    pub(super) fn new(verb: Verb, target: Target, server: Arc<str>, cause: Cause) -> Self {
        Self(Box::new(Failure {
            verb,
            target,
            server,
            cause,
        }))
    }

    /// What was tried, with its object: ``list Ingresses in `web` ``, ``patch Secret `web/a-tls` ``.
    pub fn operation(&self) -> String {
        let Failure { verb, target, .. } = &*self.0;
        match target.object() {
            Some(object) => format!("{verb} {} `{object}`", target.kind),
            None => match &target.namespace {
                Some(namespace) => format!("{verb} {} in `{namespace}`", target.kinds()),
                None => format!("{verb} {}", target.kinds()),
            },
        }
    }

    /// `namespace/name` of the object, unless a collection was asked for.
    pub fn object(&self) -> Option<String> {
        self.0.target.object()
    }

    /// Why it failed: the API server's own message, or what became of the connection.
    pub fn cause(&self) -> &str {
        match &self.0.cause {
            Cause::Status(status) if !status.message.is_empty() => &status.message,
            Cause::Status(status) if !status.reason.is_empty() => &status.reason,
            Cause::Status(_) => "an error without a message",
            Cause::Transport(text) | Cause::Denied(text) | Cause::Unreadable(text) | Cause::Other(text) => text,
        }
    }

    /// The HTTP status, where the API server answered with an error.
    pub fn status_code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    fn status(&self) -> Option<&Status> {
        match &self.0.cause {
            Cause::Status(status) => Some(status),
            _ => None,
        }
    }

    fn has_code(&self, code: u16) -> bool {
        self.status_code() == Some(code)
    }

    /// 404: the object, its namespace or its kind does not exist.
    pub fn is_not_found(&self) -> bool {
        self.has_code(404)
    }

    /// 401: the API server does not know who is asking.
    pub fn is_unauthorized(&self) -> bool {
        self.has_code(401)
    }

    /// The same as the outcome of a read.
    pub fn unread(&self) -> Box<Unread> {
        Box::new(Unread {
            why: self.to_string(),
            hint: self.hint(),
        })
    }

    /// 403 by an authorizer: RBAC does not grant it. A quota's or a webhook's 403 is not this one.
    pub fn is_forbidden(&self) -> bool {
        // The only mark: authorizers answer `... is forbidden: User "x" cannot VERB resource "y" ...`, in every version
        // (k8s.io/apiserver, pkg/endpoints/handlers/responsewriters/errors.go).
        let by_user = self.cause().split_once("is forbidden: User \"");
        self.has_code(403) && by_user.is_some_and(|(_, after)| after.contains("\" cannot "))
    }

    /// The quota that is full: `exceeded quota: NAME, requested: ..., used: ..., limited: ...`
    /// (k8s.io/apiserver, pkg/admission/plugin/resourcequota/controller.go).
    fn quota(&self) -> Option<&str> {
        let (_, after) = self.cause().split_once("exceeded quota: ")?;
        let (name, _) = after.split_once(", requested: ")?;
        self.has_code(403).then_some(name)
    }

    /// `--as` for kubectl where the account is no person's: they would ask about their own rights.
    fn as_account(&self) -> String {
        let after = self.cause().split_once("User \"system:serviceaccount:");
        let name = after.and_then(|(_, rest)| rest.split_once('"'));
        name.map_or_else(String::new, |(name, _)| format!(" --as=system:serviceaccount:{name}"))
    }

    /// 409: somebody was faster, or the name is taken.
    pub fn is_conflict(&self) -> bool {
        self.has_code(409)
    }

    /// The API server, a webhook, a policy or a quota objects to this very object: another one may pass.
    pub fn is_refused_by_admission(&self) -> bool {
        matches!(self.status_code(), Some(400 | 413 | 422)) || (self.has_code(403) && !self.is_forbidden())
    }

    /// 410: a continue token that is too old.
    pub(super) fn is_expired(&self) -> bool {
        self.has_code(410)
    }

    /// Whether the same request may succeed a little later: the server is in trouble, or the connection was.
    pub(super) fn may_heal(&self) -> bool {
        match &self.0.cause {
            Cause::Status(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
            Cause::Transport(_) | Cause::Unreadable(_) => true,
            Cause::Denied(_) | Cause::Other(_) => false,
        }
    }

    /// Whether the write may have been done all the same.
    pub(super) fn is_outcome_unknown(&self) -> bool {
        match &self.0.cause {
            Cause::Status(status) => status.code >= 500,
            Cause::Transport(_) | Cause::Denied(_) | Cause::Unreadable(_) | Cause::Other(_) => true,
        }
    }

    /// What the user can do about it, where that is known; to be printed on a line of its own.
    pub fn hint(&self) -> Option<String> {
        let Failure {
            verb, target, server, ..
        } = &*self.0;
        if self.is_unauthorized() {
            return Some(format!(
                "`{server}` does not accept these credentials. By hand: log in again, then test with `kubectl auth whoami`. In a Pod: its ServiceAccount may have been deleted or recreated: `kubectl apply -f rbac.yaml`, then start a new Job"
            ));
        }
        if self.is_forbidden() {
            let scope = match &target.namespace {
                Some(namespace) => format!("-n {namespace}"),
                None => "--all-namespaces".into(),
            };
            let resource = target.resource();
            let verb = verb.rbac();
            // A CronJob's Pod needs none of these.
            let by_hand = matches!(
                (verb, resource.as_str()),
                (_, "configmaps" | "cronjobs.batch") | ("get" | "create", "pods")
            );
            let granted = if by_hand {
                "A run by hand needs more rights than rbac.yaml grants; docs/security.md lists them"
            } else {
                "`kubectl apply -f rbac.yaml` grants it"
            };
            return Some(format!(
                "the user of this request has no right to `{verb}` `{resource}`. {granted}. To check: `kubectl auth can-i {verb} {resource} {scope}{}`",
                self.as_account()
            ));
        }
        if let Some(quota) = self.quota() {
            let namespace = target.namespace.as_deref().unwrap_or_default();
            return Some(format!(
                "`kubectl describe resourcequota -n {namespace} {quota}` says what is used: delete what is not needed, or raise it"
            ));
        }
        if self.is_not_found() && self.cause().starts_with("namespaces ") {
            let namespace = target.namespace.as_deref().unwrap_or_default();
            return Some(format!("`kubectl create namespace {namespace}` makes it"));
        }
        if self.is_not_found() && *verb == Verb::Create {
            let resource = target.resource();
            return Some(format!(
                "the API server does not serve this kind: `kubectl get crd {resource}` says whether it is installed, and in which versions"
            ));
        }
        match &self.0.cause {
            Cause::Denied(text) if text.contains("certificate expired") || text.contains("not valid yet") => {
                Some(format!("is the clock right, here and at `{server}`?"))
            }
            Cause::Transport(_) | Cause::Denied(_) => {
                Some(format!("is `{server}` the right API server, and reachable from here?"))
            }
            _ => None,
        }
    }
}

/// kube's error without its layers. None of its texts can hold a Secret's data: bodies are read in `call.rs`.
pub(super) fn cause(error: kube::Error) -> Cause {
    match error {
        kube::Error::Api(status) => Cause::Status(status),
        kube::Error::Service(error) => match (error.downcast_ref::<AuthError>(), chain(&*error)) {
            (Some(error), _) => Cause::Denied(auth(error, None)),
            (None, words) if words.contains("invalid peer certificate") => Cause::Denied(words),
            (None, words) => Cause::Transport(words),
        },
        kube::Error::HyperError(error) => Cause::Transport(chain(&error)),
        kube::Error::Auth(error) => Cause::Denied(auth(&error, None)),
        // Its Display is the offset, its Debug the bytes.
        kube::Error::FromUtf8(_) => Cause::Unreadable("the answer is not UTF-8".into()),
        error => Cause::Other(chain(&error)),
    }
}

/// A credential plugin's standard output holds credentials, and kube's message quotes it.
pub(super) fn auth(error: &AuthError, plugin: Option<&str>) -> String {
    let plugin = match plugin {
        Some(name) => format!("the kubeconfig's credential plugin `{name}`"),
        None => "the kubeconfig's credential plugin".to_owned(),
    };
    let AuthError::AuthExecRun { out, .. } = error else {
        return match error {
            AuthError::AuthExecParse(_) => format!("{plugin} printed no ExecCredential"),
            AuthError::AuthExecStart(error) => format!("{plugin} does not start: {error}"),
            error => chain(error),
        };
    };
    let stderr = String::from_utf8_lossy(&out.stderr);
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty());
    match last {
        Some(line) => format!("{plugin} failed with {}: {line}", out.status),
        None => format!("{plugin} failed with {}", out.status),
    }
}

/// An error and its sources in one line, without what each repeats of the next.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if let Some(last) = parts.last_mut()
            && let Some(own) = last.strip_suffix(&text)
        {
            *last = own.trim_end_matches([':', ' ']).to_owned();
        }
        parts.push(text);
        next = error.source();
    }
    // hyper's word for the stage; what went wrong there follows.
    parts.retain(|part| !part.is_empty() && part != "client error (Connect)");
    parts.dedup();
    // tokio's word for it says nothing to who never set a deadline.
    parts.join(": ").replace("deadline has elapsed", "timed out")
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "read",
            other => other.rbac(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Outer(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner(#[source] std::io::Error);

    #[test]
    fn a_chain_says_each_thing_once() {
        let error = Outer(Inner(std::io::Error::other("connection refused")));
        assert_eq!(chain(&error), "outer: inner: connection refused");
    }

    fn refused(code: u16, message: &str) -> ClusterError {
        let status = Status::failure(message, "").with_code(code).boxed();
        let target = Target::of::<k8s_openapi::api::networking::v1::Ingress>(Some("web"), None);
        ClusterError::new(Verb::Create, target, "https://k".into(), Cause::Status(status))
    }

    #[test]
    fn an_authorizers_403_is_told_from_an_admission_plugins() {
        let rbac = r#"ingresses.networking.k8s.io is forbidden: User "u" cannot create resource "ingresses" in API group "networking.k8s.io" in the namespace "web""#;
        for (code, message, forbidden, refused_by_admission) in [
            (403, rbac, true, false),
            (403, r#"ingresses "x" is forbidden: exceeded quota: q"#, false, true),
            (
                403,
                r#"admission webhook "w" denied the request: User "u" cannot have it"#,
                false,
                true,
            ),
            (400, r#"admission webhook "w" denied the request: no"#, false, true),
            (422, "invalid", false, true),
            (401, "Unauthorized", false, false),
            (409, "exists", false, false),
            (500, "failed calling webhook", false, false),
        ] {
            let error = refused(code, message);
            assert_eq!(error.is_forbidden(), forbidden, "{message}");
            assert_eq!(error.is_refused_by_admission(), refused_by_admission, "{message}");
        }
        assert_eq!(
            refused(403, rbac).to_string(),
            format!("could not create Ingresses in `web`: {rbac}")
        );
        let hint = refused(403, rbac).hint().expect("a hint");
        assert!(
            hint.contains("kubectl auth can-i create ingresses.networking.k8s.io -n web"),
            "{hint}"
        );
    }

    #[test]
    fn a_full_quota_is_named() {
        let full = r#"ingresses "x" is forbidden: exceeded quota: objects, requested: count/i=1, used: count/i=3, limited: count/i=3"#;
        let hint = refused(403, full).hint().expect("a hint");
        assert!(
            hint.starts_with("`kubectl describe resourcequota -n web objects`"),
            "{hint}"
        );
        assert_eq!(refused(403, "exceeded quota").hint(), None);
    }
}
