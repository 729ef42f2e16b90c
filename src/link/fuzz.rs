//! The body of the fuzz target of this module.

use crate::link::BrokerUrl;

/// Law: no text panics; what is read prints itself without its password, and reads back as the same
/// address.
pub fn fuzz_broker_url(data: &[u8]) {
    let Ok(url) = BrokerUrl::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    let printed = url.to_string();
    let again = BrokerUrl::parse(&printed).expect("a printed URL is a URL");
    assert_eq!(again.password(), "**");
    assert_eq!((again.host(), again.port()), (url.host(), url.port()));
    assert_eq!((again.user(), again.vhost()), (url.user(), url.vhost()));
}
