//! Broker URLs, read by kombu's rules.
//!
//! The grammar is `scheme://[user[:password]@][host][:port][/vhost][?key=value&...]`; several of
//! them joined by `;` are alternates for failover. kombu takes the scheme off and reads the rest as
//! an `http` URL, which gives the rules that differ from RabbitMQ's own: exactly one leading `/` of
//! the path is dropped, an empty part means "not given" (so `amqp://h/` is the virtual host `/`),
//! and user and password default to `guest` each on its own.
//!
//! A URL carries a password. `Display` and `Debug` print `**` in its place, and no error quotes the
//! text that could not be read: in a URL with an unescaped `/` in its password, the "port" is a
//! piece of the password.
//!
//! What kombu refuses with a `TypeError` and we do not: an unknown parameter is left out and named
//! by [`BrokerUrl::ignored_parameters`]; `connect_timeout` is a number. What kombu accepts and we
//! do not: a bare `host:port/vhost`, which it takes whole as the name of a host that cannot exist.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::amqp::connection::Options;
use crate::amqp::sasl::Mechanism;
use crate::util::span;

/// The port of AMQP without TLS.
const AMQP_PORT: u16 = 5672;

/// One broker address: where to connect, and as whom.
///
/// ```
/// use celeriac::link::BrokerUrl;
///
/// let url: BrokerUrl = "amqp://bob:secret@localhost/orders?heartbeat=30".parse()?;
/// assert_eq!(url.vhost(), "orders");
/// assert_eq!(url.to_string(), "amqp://bob:**@127.0.0.1:5672/orders");
/// # Ok::<(), celeriac::link::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    host: String,
    port: u16,
    user: String,
    password: String,
    vhost: String,
    login_method: Option<Mechanism>,
    heartbeat: Option<Duration>,
    connect_timeout: Option<Duration>,
    ignored: Vec<String>,
}

/// Why a text is no broker URL that we can connect to. Never holds a piece of the URL that could be
/// a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// A kombu transport that celeriac does not speak, `redis` for example.
    UnsupportedScheme {
        /// The scheme, in lower case.
        scheme: String,
    },
    /// TLS was asked for, by `amqps://` or by an `ssl` parameter; going on without would betray the
    /// password.
    TlsUnsupported {
        /// What asked for it: `amqps://`, or the name of the parameter.
        by: String,
    },
    /// No `scheme://` in front of something that is not a plain host name.
    MissingScheme,
    /// The port is not a number from 0 to 65535.
    Port,
    /// A `[` without `]` or the reverse, or an empty `[]`.
    Brackets,
    /// A parameter's value cannot be used.
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// What its value has to be.
        expected: &'static str,
    },
}

impl BrokerUrl {
    /// Reads one URL. The empty text is `amqp://`, as is an unset `broker_url` in Celery.
    ///
    /// # Errors
    /// [`UrlError`], see its variants.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some((scheme, rest)) => {
                check_scheme(scheme)?;
                rest
            }
            None if text.contains(['/', ':', '@', '?']) => return Err(UrlError::MissingScheme),
            None => text,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = split_address(address)?;

        let default = Self::default();
        let mut url = Self {
            host: given_or(percent_decode(host).to_lowercase(), default.host),
            port: parse_port(port)?,
            user: given_or(percent_decode(user), default.user),
            password: given_or(percent_decode(password), default.password),
            vhost: given_or(percent_decode(path), default.vhost),
            ..Self::default()
        };
        for pair in query.split('&') {
            url.take_parameter(pair)?;
        }
        Ok(url)
    }

    /// Reads alternates joined by `;`, in the order to try them. Never empty: no URL at all is
    /// `amqp://`.
    ///
    /// # Errors
    /// The first [`UrlError`] among them.
    ///
    /// ```
    /// use celeriac::link::BrokerUrl;
    ///
    /// let urls = BrokerUrl::parse_list("amqp://a;amqp://b:5673")?;
    /// assert_eq!((urls[0].host(), urls[1].port()), ("a", 5673));
    /// # Ok::<(), celeriac::link::UrlError>(())
    /// ```
    pub fn parse_list(text: &str) -> Result<Vec<Self>, UrlError> {
        let mut urls = Vec::new();
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            urls.push(Self::parse(part)?);
        }
        if urls.is_empty() {
            urls.push(Self::default());
        }
        Ok(urls)
    }

    /// One `key=value` of the query. Blank values count as not given, as Python's `parse_qsl` has
    /// it.
    fn take_parameter(&mut self, pair: &str) -> Result<(), UrlError> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (form_decode(name), form_decode(value));
        if value.is_empty() {
            return Ok(());
        }
        match name.as_str() {
            "heartbeat" => self.heartbeat = Some(seconds("heartbeat", &value)?),
            "connect_timeout" => match seconds("connect_timeout", &value)? {
                Duration::ZERO => {
                    let expected = "more than 0 seconds";
                    return Err(UrlError::Parameter {
                        name: "connect_timeout",
                        expected,
                    });
                }
                timeout => self.connect_timeout = Some(timeout),
            },
            "login_method" => match Mechanism::from_name(&value) {
                Some(mechanism) => self.login_method = Some(mechanism),
                None => {
                    let expected = "PLAIN, AMQPLAIN or EXTERNAL";
                    return Err(UrlError::Parameter {
                        name: "login_method",
                        expected,
                    });
                }
            },
            "ssl" => return Err(UrlError::TlsUnsupported { by: name }),
            _ if name.starts_with("ssl_") => return Err(UrlError::TlsUnsupported { by: name }),
            _ => self.ignored.push(name),
        }
        Ok(())
    }

    /// The host to connect to, in lower case and without brackets; `localhost` is already the
    /// `127.0.0.1` that kombu makes of it.
    pub fn host(&self) -> &str {
        if self.host == "localhost" {
            "127.0.0.1"
        } else {
            &self.host
        }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user to log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password in clear: for the login only, never for a log.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The virtual host to open.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// `?login_method=`; overrides the setting `broker_login_method`.
    pub fn login_method(&self) -> Option<Mechanism> {
        self.login_method
    }

    /// `?heartbeat=`, in seconds there; zero turns heartbeats off. Overrides `broker_heartbeat`.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.heartbeat
    }

    /// `?connect_timeout=`, in seconds there; never zero. Overrides `broker_connection_timeout`.
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// What a connection to here needs to know. `heartbeat` and `mechanism` are for a URL that does
    /// not say.
    pub fn options(&self, heartbeat: Duration, mechanism: Mechanism) -> Options {
        let heartbeat = self.heartbeat.unwrap_or(heartbeat);
        // Whole seconds on the wire; less than one is still not "none".
        let seconds = heartbeat.as_secs() + u64::from(heartbeat.subsec_nanos() > 0);
        Options {
            user: self.user.clone(),
            password: self.password.clone(),
            mechanism: Some(self.login_method.unwrap_or(mechanism)),
            virtual_host: self.vhost.clone(),
            heartbeat: u16::try_from(seconds).unwrap_or(u16::MAX),
            ..Options::default()
        }
    }

    /// Names of parameters that were left out because nothing is known by them. Whoever reads the
    /// configuration warns of these, once.
    pub fn ignored_parameters(&self) -> &[String] {
        &self.ignored
    }
}

/// `amqp://`: the broker on this machine, as `guest`.
impl Default for BrokerUrl {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: AMQP_PORT,
            user: "guest".into(),
            password: "guest".into(),
            vhost: "/".into(),
            login_method: None,
            heartbeat: None,
            connect_timeout: None,
            ignored: Vec::new(),
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

/// As Celery prints it: `amqp://guest:**@127.0.0.1:5672//`. Reading this text again gives the same
/// address.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "amqp://{}:**@", Quoted(&self.user, ""))?;
        if self.host.contains(':') {
            write!(f, "[{}]", Quoted(&self.host, ":"))?;
        } else {
            write!(f, "{}", Quoted(self.host(), ""))?;
        }
        write!(f, ":{}/{}", self.port, Quoted(&self.vhost, "/"))
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerUrl({self})")
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedScheme { scheme } => {
                write!(
                    f,
                    "broker URL: the transport '{scheme}' is not supported, only amqp:// is"
                )
            }
            Self::TlsUnsupported { by } => {
                write!(
                    f,
                    "broker URL: '{by}' asks for TLS, which is not supported yet"
                )
            }
            Self::MissingScheme => {
                f.write_str("broker URL: no scheme, write amqp://host:port/vhost")
            }
            Self::Port => f.write_str(
                "broker URL: the port is not a number from 0 to 65535 (write /, ?, # and @ in a \
                 password as %2F, %3F, %23 and %40)",
            ),
            Self::Brackets => f.write_str("broker URL: an IPv6 address is written [::1]"),
            Self::Parameter { name, expected } => {
                write!(f, "broker URL: the parameter {name} has to be {expected}")
            }
        }
    }
}

impl std::error::Error for UrlError {}

fn check_scheme(scheme: &str) -> Result<(), UrlError> {
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "amqp" | "pyamqp" | "librabbitmq" => Ok(()),
        "amqps" => Err(UrlError::TlsUnsupported {
            by: "amqps://".into(),
        }),
        // Anything but a name in front of "://" may be a login: not to be repeated.
        _ if !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
        {
            Err(UrlError::MissingScheme)
        }
        "" => Err(UrlError::MissingScheme),
        _ => Err(UrlError::UnsupportedScheme { scheme }),
    }
}

/// `host:port` and `[v6]:port`, the port without its colon and possibly empty.
fn split_address(address: &str) -> Result<(&str, &str), UrlError> {
    let Some(bracketed) = address.strip_prefix('[') else {
        return match address.contains(['[', ']']) {
            true => Err(UrlError::Brackets),
            false => Ok(address.split_once(':').unwrap_or((address, ""))),
        };
    };
    let (host, rest) = bracketed.split_once(']').ok_or(UrlError::Brackets)?;
    match rest.strip_prefix(':') {
        _ if host.is_empty() => Err(UrlError::Brackets),
        Some(port) => Ok((host, port)),
        None if rest.is_empty() => Ok((host, "")),
        None => Err(UrlError::Brackets),
    }
}

/// Port 0 means "not given" to kombu.
fn parse_port(text: &str) -> Result<u16, UrlError> {
    if text.is_empty() {
        return Ok(AMQP_PORT);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(0) => Ok(AMQP_PORT),
        Ok(port) if digits => Ok(port),
        _ => Err(UrlError::Port),
    }
}

fn seconds(name: &'static str, value: &str) -> Result<Duration, UrlError> {
    let number = value.trim().parse().ok();
    number.and_then(span::seconds).ok_or(UrlError::Parameter {
        name,
        expected: "a number of seconds, 0 or more",
    })
}

fn given_or(part: String, default: String) -> String {
    if part.is_empty() { default } else { part }
}

fn form_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Python's `unquote`: a `%` that starts no escape stands for itself, bytes that are no UTF-8
/// become U+FFFD.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Python's `quote(text, safe)`.
struct Quoted<'a>(&'a str, &'static str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.as_bytes() {
            let character = char::from(byte);
            let plain = byte.is_ascii_alphanumeric() || "-._~".contains(character);
            if plain || (byte.is_ascii() && self.1.contains(character)) {
                write!(f, "{character}")?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
