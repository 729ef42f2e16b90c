//! Message properties, owned and as JSON: the form they have outside a frame.

use serde::{Deserialize, Serialize};

use crate::amqp::ShortStr;
use crate::amqp::props::Properties;
use crate::amqp::table::Table;

/// The properties of a message apart from its headers, under AMQP's names. Absent ones are left
/// out, as py-amqp leaves them out.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct MessageProperties {
    /// The MIME type of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `utf-8`, or `binary` for octets that are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// 2: the message survives a restart of the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_mode: Option<u8>,
    /// 0 to 9, or up to 255 where the queue allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The task's id, unless the caller chose another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The queue for results of the rpc backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Milliseconds, in decimal, until the broker may drop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// The publisher's id for the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    /// The publisher's type for the message.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The broker's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The publishing application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// Obsolete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
}

impl MessageProperties {
    /// Those of a result of the rpc backend.
    pub(crate) fn of_result(correlation_id: &str) -> Self {
        Self {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            delivery_mode: Some(1),
            priority: Some(0),
            correlation_id: Some(correlation_id.to_owned()),
            ..Self::default()
        }
    }

    /// The same with `headers`, as a connection publishes them.
    pub fn as_amqp<'a>(&'a self, headers: Table<'a>) -> Properties<'a> {
        let short = |text: &'a Option<String>| text.as_deref().map(Into::into);
        Properties {
            content_type: short(&self.content_type),
            content_encoding: short(&self.content_encoding),
            headers: Some(headers),
            delivery_mode: self.delivery_mode,
            priority: self.priority,
            correlation_id: short(&self.correlation_id),
            reply_to: short(&self.reply_to),
            expiration: short(&self.expiration),
            message_id: short(&self.message_id),
            timestamp: self.timestamp,
            type_: short(&self.type_),
            user_id: short(&self.user_id),
            app_id: short(&self.app_id),
            cluster_id: short(&self.cluster_id),
        }
    }
}

impl From<&Properties<'_>> for MessageProperties {
    /// Takes all but the headers. What is not UTF-8 gets U+FFFD in its place.
    fn from(properties: &Properties<'_>) -> Self {
        let text =
            |text: Option<ShortStr<'_>>| text.map(|text| text.to_string_lossy().into_owned());
        Self {
            content_type: text(properties.content_type),
            content_encoding: text(properties.content_encoding),
            delivery_mode: properties.delivery_mode,
            priority: properties.priority,
            correlation_id: text(properties.correlation_id),
            reply_to: text(properties.reply_to),
            expiration: text(properties.expiration),
            message_id: text(properties.message_id),
            timestamp: properties.timestamp,
            type_: text(properties.type_),
            user_id: text(properties.user_id),
            app_id: text(properties.app_id),
            cluster_id: text(properties.cluster_id),
        }
    }
}
