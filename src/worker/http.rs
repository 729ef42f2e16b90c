//! Health and metrics over HTTP, for probes and scrapers: `/livez`, `/readyz`, `/metrics`. Off by default.
//!
//! It is served on the Hub, which is the point: a main process whose loop does not turn does not answer. What it costs
//! is bounded, whoever asks: so many connections, one request each of so many octets, within so long. Nothing is ever
//! waited for.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Worker;
use crate::hub::{Hub, Interest, Mode, Next, TimerKey};
use crate::sys::fd::SharedFd;
use crate::util::slots::{Key, Slots};

/// Connections at a time; further ones are closed at once.
const CONNECTIONS: usize = 64;
/// Octets of a request's head.
const HEAD: usize = 8 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;
/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(10);

/// What OpenMetrics is called by.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The listener's place in the Hub, and the connections.
#[derive(Debug, Default)]
pub(super) struct Http {
    listener: Option<Key>,
    connections: Slots<Connection>,
}

impl Http {
    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }
}

#[derive(Debug)]
struct Connection {
    socket: SharedFd,
    source: Option<Key>,
    timer: Option<TimerKey>,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

/// The first line of a request, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `HEAD` instead of `GET`: the answer has no body.
    pub head_only: bool,
    /// The path, without a query.
    pub path: String,
}

/// Reads a request: `None` while its head is not complete.
///
/// # Errors
/// The status to refuse it with.
///
/// ```
/// use celeriac::worker::http;
/// let request = http::request(b"GET /livez?verbose HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().unwrap();
/// assert_eq!((request.path.as_str(), request.head_only), ("/livez", false));
/// assert_eq!(http::request(b"GET /liv"), Ok(None));
/// assert_eq!(http::request(b"POST / HTTP/1.1\r\n\r\n"), Err(405));
/// ```
pub fn request(octets: &[u8]) -> Result<Option<Request>, u16> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(octets) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if octets.len() >= HEAD => return Err(431),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(405),
    };
    let path = request.path.unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().to_owned();
    Ok(Some(Request { head_only, path }))
}

/// An answer of one piece, after which the connection is closed.
fn answer(status: u16, kind: &str, body: &str, head_only: bool) -> Vec<u8> {
    let words = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 {status} {words}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    if !head_only {
        answer.push_str(body);
    }
    answer.into_bytes()
}

impl Worker {
    /// Listens at `address`.
    pub(super) fn start_http(
        &mut self,
        address: SocketAddr,
        hub: &mut Hub<Self>,
    ) -> io::Result<()> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        log::info!("http: serving on {}", listener.local_addr()?);
        let file = SharedFd::new(listener.try_clone()?);
        let key = hub.add(file, Interest::READ, Mode::Drain, move |worker, hub, _| {
            worker.accept(&listener, hub)
        })?;
        self.http.listener = Some(key);
        Ok(())
    }

    /// Listens no more. Answers that are not sent are not.
    pub(super) fn stop_http(&mut self, hub: &mut Hub<Self>) {
        if let Some(listener) = self.http.listener.take() {
            hub.remove(listener);
        }
        let keys: Vec<Key> = self.http.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.close_connection(key, hub);
        }
    }

    fn accept(&mut self, listener: &TcpListener, hub: &mut Hub<Self>) -> Next {
        loop {
            match listener.accept() {
                Ok((socket, _)) if self.http.connections.len() < CONNECTIONS => {
                    if socket.set_nonblocking(true).is_ok() {
                        self.add_connection(OwnedFd::from(socket), hub);
                    }
                }
                Ok(_) => log::warn!("http: {CONNECTIONS} connections are open: no more"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log::error!("http: cannot accept: {error}");
                    return Next::Wait;
                }
            }
        }
    }

    fn add_connection(&mut self, socket: OwnedFd, hub: &mut Hub<Self>) {
        let socket = SharedFd::new(socket);
        let key = self.http.connections.insert(Connection {
            socket: socket.clone(),
            source: None,
            timer: None,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
        });
        let handler = move |worker: &mut Self, hub: &mut Hub<Self>, _| {
            worker.serve(key, hub);
            Next::Wait
        };
        let source = hub.add(socket, Interest::BOTH, Mode::Drain, handler);
        let timer = hub.call_after(PATIENCE, move |worker, hub| {
            worker.close_connection(key, hub)
        });
        if let Some(connection) = self.http.connections.get_mut(key) {
            connection.source = source.ok();
            connection.timer = Some(timer);
        }
        self.serve(key, hub);
    }

    fn close_connection(&mut self, key: Key, hub: &mut Hub<Self>) {
        let Some(connection) = self.http.connections.remove(key) else {
            return;
        };
        connection.source.map(|source| hub.remove(source));
        connection.timer.map(|timer| hub.cancel(timer));
    }

    /// Does on a connection what can be done now.
    fn serve(&mut self, key: Key, hub: &mut Hub<Self>) {
        let Some(connection) = self.http.connections.get_mut(key) else {
            return;
        };
        if connection.output.is_empty() {
            match connection.read() {
                Ok(None) => return,
                Ok(Some(request)) => {
                    let output = self.respond(&request);
                    if let Some(connection) = self.http.connections.get_mut(key) {
                        connection.output = output;
                    }
                }
                Err(Some(status)) => connection.output = answer(status, TEXT, "", false),
                Err(None) => return self.close_connection(key, hub),
            }
        }
        let connection = self.http.connections.get_mut(key);
        if connection.is_none_or(|connection| connection.write()) {
            self.close_connection(key, hub);
        }
    }

    fn respond(&mut self, request: &Request) -> Vec<u8> {
        let verdict = match request.path.as_str() {
            "/livez" => self.live(),
            "/readyz" => self.ready(),
            "/metrics" => {
                let text = self.metrics();
                return answer(200, OPEN_METRICS, &text, request.head_only);
            }
            _ => {
                let known = "/livez\n/readyz\n/metrics\n";
                return answer(404, TEXT, known, request.head_only);
            }
        };
        match verdict {
            Ok(()) => answer(200, TEXT, "ok\n", request.head_only),
            Err(reason) => answer(503, TEXT, &format!("{reason}\n"), request.head_only),
        }
    }
}

impl Connection {
    /// Reads what has come: a request, nothing yet, or why there will be none.
    fn read(&mut self) -> Result<Option<Request>, Option<u16>> {
        let mut piece = [0; 2048];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(None),
                Ok(count) => {
                    let piece = piece.get(..count).unwrap_or_default();
                    self.input.extend_from_slice(piece);
                    if let Some(request) = request(&self.input)? {
                        return Ok(Some(request));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(None),
            }
        }
    }

    /// Writes what can be written. Whether there is nothing more to do here.
    fn write(&mut self) -> bool {
        loop {
            let rest = self.output.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                return true;
            }
            match self.socket.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

#[doc(hidden)]
pub fn fuzz_http_request(data: &[u8]) {
    let whole = request(data);
    // What is not refused now may be when more has come; what is complete stays as it is.
    for cut in 0..data.len().min(HEAD) {
        if let Ok(Some(early)) = request(data.get(..cut).unwrap_or_default()) {
            assert_eq!(whole, Ok(Some(early)), "more octets change no request");
            break;
        }
    }
    if let Ok(Some(request)) = whole {
        assert!(!request.path.contains('?'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(request(b""), Ok(None));
        assert_eq!(request(b"\x16\x03\x01\x00"), Err(400), "TLS");
        assert_eq!(request(b"AMQP\0\0\x09\x01"), Err(400));
        assert_eq!(request(b"PRI * HTTP/2.0\r\n\r\n"), Err(400));
        let long = [b"GET /".as_slice(), &vec![b'a'; HEAD]].concat();
        assert_eq!(request(&long), Err(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert_eq!(request(many.as_bytes()), Err(431));
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let text = String::from_utf8(answer(503, TEXT, "why\n", false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(text.contains("\r\nContent-Length: 4\r\n") && text.ends_with("\r\n\r\nwhy\n"));
        let head = String::from_utf8(answer(200, TEXT, "ok\n", true)).unwrap();
        assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"));
    }
}
