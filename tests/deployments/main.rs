//! What lies in `deployments/`: it parses, fits together, and speaks of nothing that doesn't exist. No engine and no cluster
//! is needed, or asked.

#[cfg(test)]
mod compose;
#[cfg(test)]
mod files;
#[cfg(test)]
mod kubernetes;
#[cfg(test)]
mod prometheus;
