//! What is said about frames that are none, in RabbitMQ's words.

use super::TOLERANCE;
use crate::amqp::frame::{FrameError, OVERHEAD};
use crate::amqp::reply::ReplyCode;
use crate::amqp::wire::DecodeError;
use crate::broker::refusal::Refusal;

/// Octets that cannot be a frame.
pub(super) fn frame_refusal(error: FrameError, data: &[u8]) -> Refusal {
    let kind = data.first().copied().unwrap_or_default();
    let length = data.get(3..7).and_then(|length| length.try_into().ok());
    let length = u32::from_be_bytes(length.unwrap_or_default()) as usize;
    let payload = data.get(7..).unwrap_or_default();
    let payload = payload.get(..length).unwrap_or(payload);
    let (octets, why) = match error {
        FrameError::TooLarge { size, frame_max } => {
            let size = size - OVERHEAD as u64;
            let limit = frame_max.saturating_sub(2 * TOLERANCE);
            (&[][..], format!(": {{frame_too_large,{size},{limit}}}"))
        }
        FrameError::BadEnd(octet) => (payload, format!(": {{invalid_frame_end_marker,{octet}}}")),
        FrameError::HeartbeatOnChannel(_) => (&[][..], String::new()),
        _ => (payload, ": unknown_frame".into()),
    };
    let shown = match octets.get(..16) {
        Some(start) if octets.len() > 16 => format!("first 16 octets = {}", octets_as_text(start)),
        _ => format!("all octets = {}", octets_as_text(octets)),
    };
    Refusal::new(
        error.reply_code(),
        format_args!("type {kind}, {shown}{why}"),
    )
}

/// A method that cannot be read.
pub(super) fn decode_refusal(error: DecodeError, payload: &[u8]) -> Refusal {
    match error {
        DecodeError::UnknownMethod { .. } => Refusal::not_implemented(error),
        DecodeError::Truncated | DecodeError::TrailingBytes { .. } => {
            let arguments = octets_as_text(payload.get(4..).unwrap_or_default());
            Refusal::new(
                ReplyCode::FrameError,
                format_args!("cannot decode {arguments}"),
            )
        }
        _ => Refusal::new(ReplyCode::SyntaxError, error),
    }
}

/// Octets as Erlang shows them.
fn octets_as_text(octets: &[u8]) -> String {
    let printable = |octet: &u8| octet.is_ascii_graphic() || *octet == b' ';
    if !octets.is_empty() && octets.iter().all(printable) {
        return format!("<<\"{}\">>", String::from_utf8_lossy(octets));
    }
    let numbers: Vec<String> = octets.iter().map(u8::to_string).collect();
    format!("<<{}>>", numbers.join(","))
}
