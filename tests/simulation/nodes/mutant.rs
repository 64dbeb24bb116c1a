//! Faults in the product that the oracle must find: proof that it looks.
//!
//! Nothing of the product is changed for them. Each is made at a port or in the transport's place, so that what the rest
//! sees is what it would see if the product had the fault.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A feed's live channel opens only after the feed has read where its log stands.
    SubscribeAfterReading,
    /// What is handed to a transport counts as acknowledged.
    PruneOnSend,
    /// Nobody can tell a log's generations apart.
    NoEpochCheck,
    /// A cursor's generation is not compared with the session's; nor is a record's with what is there.
    NoGenerationCheck,
    /// An entry that is dropped on its way in counts as delivered.
    AdvanceOnDrop,
    /// Sends are told apart by the client's id alone, not by user.
    DedupeWithoutUser,
    /// Removals are not obeyed.
    DeafToRemovals,
}

pub(crate) const ALL: [Mutant; 7] = [
    Mutant::SubscribeAfterReading,
    Mutant::PruneOnSend,
    Mutant::NoEpochCheck,
    Mutant::NoGenerationCheck,
    Mutant::AdvanceOnDrop,
    Mutant::DedupeWithoutUser,
    Mutant::DeafToRemovals,
];
