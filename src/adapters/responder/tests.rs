use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::front::CONNECTIONS_MAX;
use super::*;
use crate::decide::observed::CHALLENGE_PATH;

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn responder() -> Responder {
    Responder::start(LOCALHOST, "THUMB", &"run-1".parse().expect("a run's id")).expect("a responder")
}

fn say(responder: &Responder, request: &str) -> String {
    let mut stream = TcpStream::connect(responder.local_addr()).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer that ends");
    answer
}

fn get(responder: &Responder, target: &str) -> String {
    say(responder, &format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
}

fn challenge() -> String {
    format!("{CHALLENGE_PATH}/{TOKEN}")
}

#[test]
fn a_challenge_is_answered_and_the_run_named() {
    let answer = get(&responder(), &challenge());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, format!("{TOKEN}.THUMB"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for field in [
        "Content-Type: text/plain",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "kube-lego-once-run: run-1",
        "Connection: close",
        "Content-Length: 49",
    ] {
        assert!(head.lines().any(|line| line == field), "no {field:?} in {head}");
    }
}

#[test]
fn anything_else_is_not_found_but_names_the_run() {
    let answer = get(&responder(), "/");
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains("kube-lego-once-run: run-1"), "{answer}");
}

#[test]
fn head_has_no_body_and_other_methods_are_refused() {
    let responder = responder();
    let answer = say(&responder, &format!("HEAD {} HTTP/1.1\r\n\r\n", challenge()));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = say(
        &responder,
        &format!(
            "POST {} HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
            challenge()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.contains("Allow: GET, HEAD"), "{answer}");
}

#[test]
fn what_tiny_http_cannot_bear_never_reaches_it() {
    let responder = responder();
    for request in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/3.0\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\n\r\n".to_owned(),
        "GET /\u{fc} HTTP/1.1\r\n\r\n".to_owned(),
        "\r\n\r\n".to_owned(),
    ] {
        let answer = say(&responder, &request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
    }
    let answer = say(&responder, &format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(17 * 1024)));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(get(&responder, &challenge()).ends_with(".THUMB"));
}

#[test]
fn idle_and_dripping_clients_keep_nobody_waiting() {
    let responder = responder();
    let mut crowd = Vec::new();
    for index in 0..CONNECTIONS_MAX * 3 {
        let mut stream = TcpStream::connect(responder.local_addr()).expect("a connection");
        if index % 2 == 0 {
            stream.write_all(b"GET /").expect("a first drop");
        }
        crowd.push(stream);
    }
    let start = Instant::now();
    for _ in 0..20 {
        assert!(get(&responder, &challenge()).ends_with(".THUMB"));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn many_ask_at_once_and_all_are_answered() {
    let responder = responder();
    std::thread::scope(|scope| {
        for _ in 0..400 {
            scope.spawn(|| assert!(get(&responder, &challenge()).ends_with(".THUMB")));
        }
    });
}

#[test]
fn once_dropped_connections_are_refused_and_the_port_is_free() {
    let responder = responder();
    let address = responder.local_addr();
    assert_eq!(responder.port(), address.port());
    let _idle = TcpStream::connect(address).expect("a connection");
    drop(responder);
    let error = TcpStream::connect(address).expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    drop(Responder::start(address, "THUMB", &"run-2".parse().expect("a run's id")).expect("the port is free"));
}

/// A run starts it inside its own runtime, where no other one may be dropped.
#[tokio::test]
async fn a_taken_port_is_named() {
    let first = responder();
    let error = Responder::start(first.local_addr(), "THUMB", &"run-2".parse().expect("a run's id"))
        .expect_err("the port is taken");
    let expected = format!("cannot listen on `{}` for challenges: ", first.local_addr());
    assert!(error.to_string().starts_with(&expected), "{error}");
}
