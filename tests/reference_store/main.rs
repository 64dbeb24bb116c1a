//! The gateway's client and the reference Store against each other, over real gRPC on the loopback.

#[cfg(test)]
mod bulkhead;
#[cfg(test)]
mod dialogs;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod goaway;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod oversized;
#[cfg(test)]
mod troubled;
