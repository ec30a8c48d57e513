//! An API server for tests: a service under the client that answers what a scenario says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower_test::mock;

use super::Cluster;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    /// Path and query.
    pub(super) uri: String,
    /// The body; null where there is none.
    pub(super) body: Value,
}

/// The other end of a [`Cluster`].
pub(super) struct Server {
    task: JoinHandle<()>,
    seen: Arc<Mutex<Vec<Seen>>>,
    left: Arc<Mutex<VecDeque<Reply>>>,
}

impl Server {
    /// What was asked so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a lock").clone()
    }

    /// How many requests of this method came, where their path has this part.
    pub(super) fn count(&self, method: &str, part: &str) -> usize {
        let of = |seen: &&Seen| seen.method == method && seen.uri.contains(part);
        self.seen().iter().filter(of).count()
    }

    /// Ends a script: every reply must have been asked for. Returns the requests.
    pub(super) async fn finish(self) -> Vec<Seen> {
        if self.task.is_finished() {
            self.task.await.expect("no unexpected request");
        } else {
            self.task.abort();
        }
        let left = self.left.lock().expect("a lock");
        assert!(left.is_empty(), "never asked for: {left:?}");
        self.seen.lock().expect("a lock").clone()
    }
}

/// One step of a script.
#[derive(Debug)]
pub(super) struct Reply {
    method: &'static str,
    uri: String,
    code: u16,
    body: Value,
}

impl Reply {
    /// This request, in its turn, gets this answer. The field manager's parameter is not compared.
    pub(super) fn new(method: &'static str, uri: &str, code: u16, body: Value) -> Self {
        Self {
            method,
            uri: uri.to_owned(),
            code,
            body,
        }
    }
}

/// A cluster that is asked exactly these things, in this order.
pub(super) fn script(replies: impl IntoIterator<Item = Reply>) -> (Cluster, Server) {
    let left = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
    let replies = Arc::clone(&left);
    let (cluster, mut server) = serve(move |seen| {
        let reply = replies.lock().expect("a lock").pop_front();
        let reply = reply.unwrap_or_else(|| panic!("one request too many: {seen:?}"));
        let asked = format!(
            "{} {}",
            seen.method,
            seen.uri.replace("&fieldManager=kube-lego-once", "")
        );
        assert_eq!(asked, format!("{} {}", reply.method, reply.uri));
        (reply.code, reply.body)
    });
    server.left = left;
    (cluster, server)
}

/// A cluster that answers by a function.
pub(super) fn serve(mut answer: impl FnMut(&Seen) -> (u16, Value) + Send + 'static) -> (Cluster, Server) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.expect("a body").to_bytes();
            let request = Seen {
                method: parts.method.to_string(),
                uri: parts.uri.to_string(),
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            };
            log.lock().expect("a lock").push(request.clone());
            let (code, body) = answer(&request);
            let body = Body::from(serde_json::to_vec(&body).expect("json"));
            respond.send_response(Response::builder().status(code).body(body).expect("a response"));
        }
    });
    let server = Server {
        task,
        seen,
        left: Arc::default(),
    };
    (Cluster::new(kube::Client::new(service, "default")), server)
}

/// The body of an error, <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}
