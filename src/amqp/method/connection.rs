//! Class 10: the life of a connection.

use super::super::table::Table;
use super::super::wire::ShortStr;

class_methods! { 10:
    /// The server's first word: who it is and how one may log in.
    10 Start<'a> {
        /// Zero for 0-9-1.
        version_major: u8,
        /// Nine for 0-9-1.
        version_minor: u8,
        /// Product, version, capabilities.
        server_properties: Table<'a>,
        /// SASL mechanisms, separated by spaces.
        mechanisms: &'a [u8],
        /// Locales, separated by spaces.
        locales: &'a [u8],
    }

    /// The client's choice of a mechanism, with its first response.
    11 StartOk<'a> {
        /// Product, version, capabilities.
        client_properties: Table<'a>,
        /// The chosen SASL mechanism.
        mechanism: ShortStr<'a>,
        /// What the mechanism sends first: the credentials.
        response: &'a [u8],
        /// The chosen locale.
        locale: ShortStr<'a>,
    }

    /// A challenge of the SASL mechanism.
    20 Secure<'a> {
        /// Opaque octets of the mechanism.
        challenge: &'a [u8],
    }

    /// The answer to a challenge.
    21 SecureOk<'a> {
        /// Opaque octets of the mechanism.
        response: &'a [u8],
    }

    /// The server's limits.
    30 Tune {
        /// Highest channel number; zero for no limit.
        channel_max: u16,
        /// Largest frame in octets, its envelope of eight included; zero for no limit.
        frame_max: u32,
        /// Heartbeat interval in seconds; zero for none.
        heartbeat: u16,
    }

    /// The limits both sides keep from now on.
    31 TuneOk {
        /// Highest channel number; zero for no limit.
        channel_max: u16,
        /// Largest frame in octets, its envelope of eight included; zero for no limit.
        frame_max: u32,
        /// Heartbeat interval in seconds; zero for none.
        heartbeat: u16,
    }

    /// Chooses the virtual host.
    40 Open<'a> {
        /// Its name; usually `/`.
        virtual_host: ShortStr<'a>,
    } [ShortStr<'_>, bool]

    /// The connection is open.
    41 OpenOk {} [ShortStr<'_>]

    /// Ends the connection; only [`CloseOk`] may follow.
    50 Close<'a> {
        /// Why; 200 or, from Celery, zero for an orderly end.
        reply_code: u16,
        /// Why, in words.
        reply_text: ShortStr<'a>,
        /// Class of the method that failed, or zero.
        class_id: u16,
        /// Number of the method that failed, or zero.
        method_id: u16,
    }

    /// Agrees to [`Close`].
    51 CloseOk {}

    /// RabbitMQ no longer reads what publishers send.
    60 Blocked<'a> {
        /// `low on memory`, `low on disk` or both.
        reason: ShortStr<'a>,
    }

    /// RabbitMQ reads again.
    61 Unblocked {}

    /// Renews credentials that expire.
    70 UpdateSecret<'a> {
        /// The new secret.
        new_secret: &'a [u8],
        /// Why it is renewed.
        reason: ShortStr<'a>,
    }

    /// The new secret is accepted.
    71 UpdateSecretOk {}
}
