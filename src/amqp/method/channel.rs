//! Class 20: the life of a channel.

use super::super::wire::ShortStr;

class_methods! { 20:
    /// Opens the channel whose number the frame carries.
    10 Open {} [ShortStr<'_>]

    /// The channel is open.
    11 OpenOk {} [&[u8]]

    /// Asks the peer to pause or resume content.
    20 Flow {
        /// Whether content may flow.
        active: bool,
    }

    /// Agrees to [`Flow`].
    21 FlowOk {
        /// The state that is now kept.
        active: bool,
    }

    /// Ends the channel; only [`CloseOk`] counts afterwards.
    40 Close<'a> {
        /// Why.
        reply_code: u16,
        /// Why, in words.
        reply_text: ShortStr<'a>,
        /// Class of the method that failed, or zero.
        class_id: u16,
        /// Number of the method that failed, or zero.
        method_id: u16,
    }

    /// Agrees to [`Close`].
    41 CloseOk {}
}
