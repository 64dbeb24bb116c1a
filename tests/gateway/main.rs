//! One node as it ships, in this process: [`edgeway::application::gateway::Gateway`] over the adapters in memory, with a
//! Store that is played and time that is paused. For what takes minutes.

#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod memberships;
#[cfg(test)]
mod node;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod rebuilds;
#[cfg(test)]
mod store;
