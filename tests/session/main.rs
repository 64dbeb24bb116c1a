//! The session core through its public face: the invariants of the architecture, each with tests that name it.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod revoke;
#[cfg(test)]
mod sending;
#[cfg(test)]
mod since;
#[cfg(test)]
mod watermark;
