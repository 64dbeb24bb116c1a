//! A seeded, deterministic simulation of the session core in virtual time: users with a session each, nodes that die,
//! a bus that loses, trims, forgets and rewinds, clients that lose what they were sent. After every step an oracle
//! looks whether anything was lost, repeated or leaked.
//!
//! A failure names its seed: `EDGEWAY_SIM_SEED=<seed> cargo test --test simulation` runs it alone and prints its steps.

#[cfg(test)]
mod bus;
#[cfg(test)]
mod client;
#[cfg(test)]
mod node;
#[cfg(test)]
mod rng;
#[cfg(test)]
mod world;

#[cfg(test)]
use world::World;

const SEEDS: u64 = 3000;
const FAILURES_SHOWN: usize = 5;
const SEED_VARIABLE: &str = "EDGEWAY_SIM_SEED";

/// Names the seed if the run panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation panicked: {SEED_VARIABLE}={}", self.0);
        }
    }
}

fn run(seed: u64, told: bool) -> Result<(), String> {
    let _named = Named(seed);
    World::new(seed, told).run()
}

#[test]
fn whatever_fails_nothing_is_lost_repeated_or_leaked() {
    if let Ok(seed) = std::env::var(SEED_VARIABLE) {
        run(seed.parse().unwrap(), true).unwrap();
        return;
    }
    let failed: Vec<String> = (0..SEEDS)
        .filter_map(|seed| run(seed, false).err().map(|why| format!("{SEED_VARIABLE}={seed}: {why}")))
        .take(FAILURES_SHOWN)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
