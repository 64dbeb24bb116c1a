//! Where the gateway meets the world. What comes in is in `inbound`, what it reaches out to in `outbound`; the two
//! never import each other.

pub mod inbound;
