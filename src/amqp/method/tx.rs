//! Class 90: transactions.

class_methods! { 90:
    /// Makes the channel transactional.
    10 Select {}

    /// It is.
    11 SelectOk {}

    /// Makes what was published and acknowledged count.
    20 Commit {}

    /// It counts.
    21 CommitOk {}

    /// Forgets what was published and acknowledged.
    30 Rollback {}

    /// It is forgotten.
    31 RollbackOk {}
}
