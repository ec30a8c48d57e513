//! The head of a request: its request line, read up to the end of the header fields.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The most bytes of a request line and its header fields. Proxies send a few KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const HEAD_TOO_LARGE: &str =
    "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A request line, without its line end, that tiny_http can handle.
    Request(String),
    /// A request that tiny_http must not get, and the answer to it.
    Refused(&'static str),
    /// The client closed the connection.
    Nothing,
}

/// Reads to the end of the header fields. They are not kept, since no answer depends on them.
pub(super) async fn read_head(stream: &mut TcpStream) -> io::Result<Head> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let seen = head.len();
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(Head::Nothing);
        }
        if let Some(complete) = parse_head(&head, seen) {
            return Ok(complete);
        }
    }
}

/// The request in `head`, or nothing if it is incomplete. Its first `seen` bytes are known to be incomplete.
fn parse_head(head: &[u8], seen: usize) -> Option<Head> {
    let mut windows = head[seen.saturating_sub(3)..].windows(4);
    if !windows.any(|window| window == b"\r\n\r\n") {
        return (head.len() > HEAD_BYTES_MAX).then_some(Head::Refused(HEAD_TOO_LARGE));
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let well_formed = |line: &&str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let words = parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic()));
        // At a later version, a thread of tiny_http blocks for ever.
        words && parts.len() == 3 && matches!(parts[2], "HTTP/1.0" | "HTTP/1.1")
    };
    Some(match std::str::from_utf8(line).ok().filter(well_formed) {
        Some(line) => Head::Request(line.to_owned()),
        None => Head::Refused(BAD_REQUEST),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "GET /.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA HTTP/1.1";

    #[test]
    fn a_head_may_come_in_pieces() {
        let request = format!("{LINE}\r\nHost: a.example\r\n\r\n");
        for end in 0..request.len() {
            assert_eq!(
                parse_head(&request.as_bytes()[..end], end.saturating_sub(1)),
                None,
                "{end}"
            );
        }
        for seen in 0..request.len() {
            assert_eq!(
                parse_head(request.as_bytes(), seen),
                Some(Head::Request(LINE.to_owned()))
            );
        }
    }
}
