//! Leaves steps out of a failing plan as long as it fails.

use super::mutant::Mutant;
use super::plan::Plan;
use super::world::run;

/// Runs that making a plan shorter may take.
const RUNS_MAX: usize = 400;

/// The shortest plan that was found to fail still, whatever with.
pub(crate) fn minimise(plan: &Plan, mutant: Option<Mutant>) -> Plan {
    let mut shortest = plan.clone();
    let mut runs = 0;
    let mut size = shortest.steps.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < shortest.steps.len() && runs < RUNS_MAX {
            let mut shorter = shortest.clone();
            let end = (start + size).min(shorter.steps.len());
            shorter.steps.drain(start..end);
            runs += 1;
            if run(&shorter, mutant, false).wrong.is_some() {
                shortest = shorter;
            } else {
                start = end;
            }
        }
        if runs >= RUNS_MAX {
            break;
        }
        size /= 2;
    }
    shortest
}
