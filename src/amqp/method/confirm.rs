//! Class 85: RabbitMQ's publisher confirms.

class_methods! { 85:
    /// Asks for a confirm of every publish from now on.
    10 Select {
        /// No [`SelectOk`] is wanted.
        nowait: bool,
    }

    /// Confirms will come.
    11 SelectOk {}
}
