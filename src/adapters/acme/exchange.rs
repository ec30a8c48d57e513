//! What a CA's answer says beside its body, past the library, which passes none of it on.

use std::cell::RefCell;

use http::StatusCode;
use jiff::Timestamp;

/// What an exchange said beside its body.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Timestamp>,
    /// Other chains of the certificate that the body has (RFC 8555 section 7.4.2).
    pub(super) alternates: Vec<String>,
}

tokio::task_local! {
    /// The last exchange of the call that this task is in. Orders share one client and run at the same time, so a slot in the client would mix them up.
    static LAST: RefCell<Option<Exchange>>;
}

/// Runs a call of the library, and keeps the last exchange that it made.
pub(super) async fn watched<T>(call: impl Future<Output = T>) -> (T, Option<Exchange>) {
    LAST.scope(RefCell::new(None), async {
        let output = call.await;
        (output, last())
    })
    .await
}

/// The last exchange, inside of [`watched`].
pub(super) fn last() -> Option<Exchange> {
    LAST.try_with(|slot| slot.borrow().clone()).ok().flatten()
}

/// Keeps one, inside of [`watched`].
pub(super) fn remember(exchange: Option<Exchange>) {
    // Outside of a watched call nobody asks.
    let _ = LAST.try_with(|slot| *slot.borrow_mut() = exchange);
}
