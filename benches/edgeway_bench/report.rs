//! The table, and the same as JSON.

use std::io::Write;

use serde::Serialize;

/// One figure beside its goal.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    /// The floor's figure in the same run, where there is one.
    pub(crate) floor: Option<f64>,
    /// What was measured: of Edgeway, unless a peer is named.
    pub(crate) measured: f64,
    /// Times the floor.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: Option<Goal>,
    pub(crate) met: Option<bool>,
}

/// At most so much.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// In the row's unit.
    Absolute(f64),
    /// Times the floor.
    Ratio(f64),
}

impl Row {
    pub(crate) fn absolute(
        scenario: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        measured: f64,
        goal: Option<f64>,
    ) -> Self {
        let met = goal.map(|goal| measured <= goal);
        let goal = goal.map(Goal::Absolute);
        Self { scenario, what: what.into(), unit, floor: None, measured, ratio: None, goal, met }
    }

    pub(crate) fn ratio(
        scenario: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        (floor, measured): (f64, f64),
        goal: Option<f64>,
    ) -> Self {
        let ratio = measured / floor;
        let met = goal.map(|goal| ratio <= goal);
        let goal = goal.map(Goal::Ratio);
        Self {
            scenario,
            what: what.into(),
            unit,
            floor: Some(floor),
            measured,
            ratio: Some(ratio),
            goal,
            met,
        }
    }

    /// The floor's figure beside an absolute one.
    pub(crate) fn beside(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a row, and says on standard error that it is there.
    pub(crate) fn add(&mut self, row: Row) {
        let _ = writeln!(std::io::stderr(), "{}", line(&row));
        self.rows.push(row);
    }

    /// Says what is not measured, and why.
    pub(crate) fn note(&self, what: &str) {
        let _ = writeln!(std::io::stderr(), "{what}");
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", heading())?;
        for row in &self.rows {
            writeln!(out, "{}", line(row))?;
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

fn heading() -> String {
    format!(
        "{:<8} {:<44} {:>10} {:>10} {:>7} {:>9}  {:<14}",
        "scenario", "what", "floor", "measured", "ratio", "goal", "unit"
    )
}

fn line(row: &Row) -> String {
    let figure = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    let optional = |value: Option<f64>| value.map_or_else(String::new, figure);
    let goal = match row.goal {
        Some(Goal::Absolute(goal)) => format!("<={}", figure(goal)),
        Some(Goal::Ratio(goal)) => format!("<={}x", figure(goal)),
        None => String::new(),
    };
    let verdict = match row.met {
        Some(true) => " met",
        Some(false) => " NOT MET",
        None => "",
    };
    format!(
        "{:<8} {:<44} {:>10} {:>10} {:>7} {:>9}  {:<14}{verdict}",
        row.scenario,
        row.what,
        optional(row.floor),
        figure(row.measured),
        optional(row.ratio),
        goal,
        row.unit
    )
}
