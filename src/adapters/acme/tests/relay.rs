//! Through a proxy that does what it should, or not.

use super::*;

/// What a proxy does with a connection.
#[derive(Clone)]
pub(super) enum Relay {
    All,
    Nothing,
    /// Everything but one answer: counts down what comes from the server, and cuts the line at zero.
    But(Arc<AtomicI64>),
}

/// A proxy, and what it was asked.
pub(super) fn proxy(relays: Relay) -> (Proxy, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (seen, receiver) = mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().expect("a socket"));
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = seen.send(head);
            relay(client, &target, &relays);
        }
    });
    let proxy = Proxy {
        url: format!("http://user:PASS@{address}"),
        exempt: String::new(),
    };
    (proxy, receiver)
}

fn relay(mut client: TcpStream, target: &str, relays: &Relay) {
    if let Relay::Nothing = relays {
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        return;
    }
    let mut server = TcpStream::connect(target).expect("the target");
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer");
    let (mut from, mut to) = (
        client.try_clone().expect("a socket"),
        server.try_clone().expect("a socket"),
    );
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    let relays = relays.clone();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            let cut = matches!(&relays, Relay::But(left) if left.fetch_sub(1, Ordering::SeqCst) == 0);
            if cut || client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_and_is_named_where_it_refuses() {
    let tls = tls();
    let url = serve(&tls, answer("200 OK", DIRECTORY));
    let mut settings = settings(&url, Some(&tls.root));
    let (through, seen) = proxy(Relay::All);
    settings.proxy = Some(through);
    Authority::reach(settings.clone()).await.expect("a directory");
    let head = seen.recv().expect("a request");
    assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic"), "{head}");

    let (refusing, _seen) = proxy(Relay::Nothing);
    settings.proxy = Some(refusing);
    let error = Authority::reach(settings).await.expect_err("a proxy that refuses");
    let text = format!("{error} {error:?}");
    assert!(text.contains("through the proxy `127.0.0.1:"), "{text}");
    assert!(!text.contains("PASS"), "{text}");
    assert!(error.hint().is_some_and(|hint| hint.contains("`NO_PROXY`")), "{error}");
}
