//! Logging in: the SASL mechanisms that need one response and no challenge.

use std::fmt;

use super::table::{TableBuf, Value};
use super::wire::EncodeError;

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// User and password, separated by NUL octets (RFC 4616).
    Plain,
    /// User and password in a field table: RabbitMQ's own.
    AmqPlain,
    /// The certificate of the TLS connection says who it is.
    External,
}

impl Mechanism {
    /// The mechanisms in the order in which kombu tries them when none is configured.
    pub const BY_PREFERENCE: [Self; 3] = [Self::External, Self::AmqPlain, Self::Plain];

    /// The mechanism with this name, in any case of letters.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::BY_PREFERENCE
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(name))
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
            Self::External => "EXTERNAL",
        }
    }

    /// Whether a server's list, separated by spaces, has this mechanism.
    pub fn is_offered(self, mechanisms: &[u8]) -> bool {
        mechanisms
            .split(|octet| *octet == b' ')
            .any(|name| name == self.name().as_bytes())
    }

    /// The response that goes into connection.start-ok.
    ///
    /// # Errors
    /// When user or password have no encoding.
    pub fn response(self, user: &str, password: &str) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Plain => Ok(format!("\0{user}\0{password}").into_bytes()),
            Self::AmqPlain => {
                let mut table = TableBuf::new();
                table.insert("LOGIN", user)?;
                table.insert("PASSWORD", password)?;
                Ok(table.as_table().as_bytes().to_vec())
            }
            Self::External => Ok(Vec::new()),
        }
    }

    /// The user and password in such a response, as a server reads it. EXTERNAL carries neither.
    pub fn credentials(self, response: &[u8]) -> Option<(String, String)> {
        match self {
            Self::Plain => {
                let mut parts = std::str::from_utf8(response).ok()?.split('\0').skip(1);
                let credentials = (parts.next()?.to_owned(), parts.next()?.to_owned());
                parts.next().is_none().then_some(credentials)
            }
            Self::AmqPlain => {
                let table = super::table::Table::from_bytes(response);
                let text = |key| match table.find(key) {
                    Ok(Some(Value::LongStr(text))) => String::from_utf8(text.to_vec()).ok(),
                    _ => None,
                };
                Some((text("LOGIN")?, text("PASSWORD")?))
            }
            Self::External => None,
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_the_vectors_of_the_specification() {
        let plain = Mechanism::Plain.response("guest", "guest").expect("short");
        assert_eq!(plain, b"\0guest\0guest");
        let amqplain = Mechanism::AmqPlain
            .response("guest", "guest")
            .expect("short");
        assert_eq!(
            amqplain,
            b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest"
        );
        assert_eq!(
            Mechanism::External.response("guest", "guest"),
            Ok(Vec::new())
        );
    }

    #[test]
    fn a_server_reads_back_what_a_client_wrote() {
        for mechanism in [Mechanism::Plain, Mechanism::AmqPlain] {
            let response = mechanism.response("bøb", "p w").expect("short");
            assert_eq!(
                mechanism.credentials(&response),
                Some(("bøb".into(), "p w".into()))
            );
            assert_eq!(mechanism.credentials(b"nonsense"), None);
        }
    }

    #[test]
    fn a_mechanism_is_a_whole_word_of_the_list() {
        assert!(Mechanism::Plain.is_offered(b"AMQPLAIN PLAIN"));
        assert!(!Mechanism::Plain.is_offered(b"AMQPLAIN"));
        assert_eq!(Mechanism::from_name("amqplain"), Some(Mechanism::AmqPlain));
    }
}
