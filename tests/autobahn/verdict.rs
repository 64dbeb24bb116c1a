//! What is to be thought of a report.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::deviations::{DEVIATIONS, Deviation};
use crate::suite::{Outcome, Outcomes};

/// How many cases there are in version 0.8.2 of the suite.
const CASES: usize = 517;
/// Passed; and what the suite doesn't judge.
const PASSED: [&str; 2] = ["OK", "INFORMATIONAL"];

/// What is wrong, in words. `whole`: nothing was left out.
pub(crate) fn complaints(outcomes: &Outcomes, whole: bool) -> Vec<String> {
    let mut complaints = judge(outcomes, &DEVIATIONS, whole);
    if whole && outcomes.len() != CASES {
        complaints.push(format!("{} cases were run, of {CASES}", outcomes.len()));
    }
    complaints
}

fn judge(outcomes: &Outcomes, deviations: &[Deviation], whole: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (case, outcome) in outcomes {
        match deviations.iter().find(|deviation| covers(deviation.cases, case)) {
            None if passed(outcome) => {}
            None => complaints.push(format!("{case}: {outcome:?}")),
            Some(deviation) if as_told(deviation, outcome) => {}
            Some(deviation) if passed(outcome) => {
                complaints.push(format!("{case} is passed, and {} a deviation no more", deviation.cases));
            }
            Some(_) => complaints.push(format!("{case} deviates otherwise than is told: {outcome:?}")),
        }
    }
    let unused = |deviation: &&Deviation| !outcomes.keys().any(|case| covers(deviation.cases, case));
    if whole {
        let unused = deviations.iter().filter(unused);
        complaints.extend(unused.map(|deviation| format!("there is no case {}", deviation.cases)));
    }
    complaints
}

fn passed(outcome: &Outcome) -> bool {
    [&outcome.behavior, &outcome.behavior_close]
        .into_iter()
        .all(|behavior| PASSED.contains(&behavior.as_str()))
}

fn as_told(deviation: &Deviation, outcome: &Outcome) -> bool {
    outcome.behavior == deviation.behavior && outcome.close_code == Some(deviation.close_code)
}

fn covers(cases: &str, case: &str) -> bool {
    match cases.strip_suffix('*') {
        Some(beginning) => case.starts_with(beginning),
        None => case == cases,
    }
}

/// How many cases of each part ended in which way, and what there is to say about that.
pub(crate) fn table(outcomes: &Outcomes) -> String {
    let mut counts: BTreeMap<u32, BTreeMap<&str, usize>> = BTreeMap::new();
    for (case, outcome) in outcomes {
        let part = case.split('.').next().and_then(|part| part.parse().ok()).unwrap_or_default();
        *counts.entry(part).or_default().entry(&outcome.behavior).or_default() += 1;
    }
    let mut table = String::new();
    for (part, counts) in counts {
        let counts: Vec<_> = counts.iter().map(|(behavior, count)| format!("{behavior} {count}")).collect();
        let _ = writeln!(table, "{part}.*: {}", counts.join(", "));
    }
    for Deviation { cases, why, .. } in &DEVIATIONS {
        let count = outcomes.keys().filter(|case| covers(cases, case)).count();
        let _ = writeln!(table, "{count} cases {cases}: {why}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: Deviation = Deviation { cases: "1.2.*", behavior: "FAILED", close_code: 1003, why: "" };

    fn outcome(behavior: &str, behavior_close: &str, close_code: u16) -> Outcome {
        let (behavior, behavior_close) = (behavior.to_owned(), behavior_close.to_owned());
        Outcome { behavior, behavior_close, close_code: Some(close_code) }
    }

    fn judged(case: &str, outcome: Outcome) -> usize {
        judge(&Outcomes::from([(case.to_owned(), outcome)]), &[BINARY], false).len()
    }

    #[test]
    fn what_is_not_passed_must_be_told_and_what_is_told_must_not_be_passed() {
        for (case, outcome, complaints) in [
            ("1.1.1", outcome("OK", "OK", 1000), 0),
            ("7.1.6", outcome("INFORMATIONAL", "INFORMATIONAL", 1000), 0),
            ("1.1.1", outcome("FAILED", "OK", 1003), 1),
            ("1.1.1", outcome("OK", "UNCLEAN", 1000), 1),
            ("6.4.1", outcome("NON-STRICT", "OK", 1007), 1),
            ("13.1.1", outcome("UNIMPLEMENTED", "OK", 1000), 1),
            ("1.2.1", outcome("FAILED", "WRONG CODE", 1003), 0),
            ("1.2.1", outcome("FAILED", "WRONG CODE", 1002), 1),
            ("1.2.1", outcome("UNIMPLEMENTED", "OK", 1003), 1),
            ("1.2.1", outcome("OK", "OK", 1000), 1),
        ] {
            assert_eq!(judged(case, outcome.clone()), complaints, "{case}: {outcome:?}");
        }
    }

    #[test]
    fn a_whole_run_has_every_case_and_uses_every_deviation() {
        let one = Outcomes::from([("1.1.1".to_owned(), outcome("OK", "OK", 1000))]);
        assert_eq!(judge(&one, &[BINARY], true).len(), 1);
        assert!(complaints(&one, true).iter().any(|complaint| complaint.contains("of 517")));
    }
}
