//! A proxy in front of two controllers, as a CA that asks at one port needs it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use crate::scene::cluster;

/// How a host of the second one begins.
pub const SECOND: &str = "b.";

/// The port at which both are asked; it is open until the tests end.
pub fn of_two(first: u16, second: u16) -> u16 {
    let listener = TcpListener::bind((address(), 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || pass(client, first, second));
        }
    });
    port
}

fn address() -> &'static str {
    cluster()["address"].as_str().expect("an address")
}

/// One connection: its first request says whose it is.
fn pass(mut client: TcpStream, first: u16, second: u16) -> io::Result<()> {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let of_second = text.contains(&format!("\r\nhost: {SECOND}"));
    let mut server = TcpStream::connect((address(), if of_second { second } else { first }))?;
    server.write_all(&head)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || io::copy(&mut from, &mut to));
    let answered = io::copy(&mut server, &mut client);
    // The other thread has both sockets too, so dropping them here closes nothing.
    for end in [client, server] {
        let _ = end.shutdown(Shutdown::Both);
    }
    answered.map(drop)
}
