//! Figures of other systems, measured elsewhere, to be shown beside a run.
//!
//! Invariant: they are shown as they were written, with when and where they were measured; nothing is
//! added up with figures of this run.

use std::path::Path;

use serde::Deserialize;

use super::ReportError;

/// What `tests/peer/compare --results` and `tests/peer/floors --results` write.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::bench) struct Beside {
    pub measured_at: String,
    pub machine: String,
    pub systems: Vec<String>,
    pub rows: Vec<Row>,
}

/// One figure of every system.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::bench) struct Row {
    pub title: String,
    pub unit: String,
    pub more_is_better: bool,
    /// None where a system was not measured.
    pub values: Vec<Option<f64>>,
}

/// Reads a file of results.
pub(in crate::bench) fn read(file: &Path) -> Result<Beside, ReportError> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|source| ReportError::ReadBeside { file: name.clone(), source })?;
    parse(&text).map_err(|source| ReportError::Beside { file: name, source })
}

fn parse(text: &str) -> Result<Beside, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_comparison_writes_is_read() {
        let text = r#"{"measured_at": "2026-01-31 12:00:00", "machine": "2 cores",
            "systems": ["raftmq", "DLedger"], "rows": [{"title": "64 in flight", "unit": "msgs/s",
            "more_is_better": true, "floor": "60 k/s", "values": [70000.5, null]}]}"#;
        let beside = parse(text).unwrap();
        assert_eq!(beside.systems, ["raftmq", "DLedger"]);
        assert_eq!(beside.rows[0].values, [Some(70_000.5), None]);
        let error = parse("[]").unwrap_err();
        let error = ReportError::Beside { file: "a.json".into(), source: error }.to_string();
        assert!(error.contains("a.json") && error.contains("--results"), "{error}");
    }
}
