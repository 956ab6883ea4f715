//! What is worth saying about a configuration that can be used.

use tracing::{info, warn};

use super::ignored::IgnoredKeys;
use super::{KeySpec, Properties};

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nobody knows this key: most likely a typing error.
    Unknown {
        /// The key.
        key: String,
        /// The known key that looks most like it.
        similar: Option<&'static str>,
    },
    /// A key of RocketMQ that means nothing here.
    NoEffect {
        /// The key.
        key: String,
        /// Why.
        reason: &'static str,
        /// Whether its user may miss something.
        missed: bool,
    },
    /// A key given twice; the last one counts.
    Duplicate {
        /// The key.
        key: String,
    },
    /// Messages may be deleted before they are delivered.
    DelayOutlivesMessage {
        /// The longest of `messageDelayLevel`, in hours.
        delay_hours: i64,
        /// `fileReservedTime`.
        reserved_hours: u64,
    },
    /// Metrics are to leave in a way that this broker does not have.
    NotExported {
        /// `metricsExporterType`.
        exporter: String,
    },
    /// Clients see one name, members and their data another.
    NamesDiffer {
        /// `brokerName`.
        broker_name: String,
        /// `dLegerGroup`.
        group: String,
    },
}

impl Finding {
    /// What the keys of `properties` give rise to.
    pub fn of_keys(
        properties: &Properties,
        known: &'static [KeySpec],
        ignored: &'static [IgnoredKeys],
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (key, _) in properties.iter() {
            if known.iter().any(|spec| spec.names().any(|name| name == key)) {
                continue;
            }
            let group = ignored.iter().find(|group| group.keys.contains(&key));
            findings.push(match group {
                Some(IgnoredKeys { reason, missed, .. }) => {
                    Finding::NoEffect { key: key.to_owned(), reason, missed: *missed }
                }
                None => Finding::Unknown { key: key.to_owned(), similar: similar(key, known) },
            });
        }
        let duplicates = properties.duplicates().iter();
        findings.extend(duplicates.map(|key| Finding::Duplicate { key: key.clone() }));
        findings
    }

    /// Writes the remark to the log.
    pub fn log(&self, origin: &str) {
        match self {
            Finding::Unknown { key, similar: Some(similar) } => {
                warn!(origin, key, "unknown key; did you mean {similar}?");
            }
            Finding::Unknown { key, similar: None } => warn!(origin, key, "unknown key"),
            Finding::NoEffect { key, reason, missed: true } => {
                warn!(origin, key, reason, "key has no effect here");
            }
            Finding::NoEffect { key, reason, missed: false } => {
                info!(origin, key, reason, "key has no effect here");
            }
            Finding::Duplicate { key } => {
                warn!(origin, key, "key given twice, the last one counts")
            }
            Finding::DelayOutlivesMessage { delay_hours, reserved_hours } => warn!(
                origin,
                delay_hours,
                reserved_hours,
                "a delay of messageDelayLevel is not shorter than fileReservedTime: messages may \
                 be deleted before they are delivered; raise fileReservedTime"
            ),
            Finding::NotExported { exporter } => warn!(
                origin,
                exporter,
                "this metricsExporterType is not there: no metrics are exported; use PROM"
            ),
            Finding::NamesDiffer { broker_name, group } => warn!(
                origin,
                broker_name,
                group,
                "brokerName and dLegerGroup differ; clients see brokerName, the log carries \
                 dLegerGroup, and all members need the same pair"
            ),
        }
    }
}

/// The known key within two edits, upper and lower case being the same.
fn similar(key: &str, known: &'static [KeySpec]) -> Option<&'static str> {
    let names = known.iter().flat_map(KeySpec::names);
    let lower = key.to_ascii_lowercase();
    let distances = names.map(|name| (distance(&lower, &name.to_ascii_lowercase()), name));
    distances.filter(|(distance, _)| *distance <= 2).min().map(|(_, name)| name)
}

/// Levenshtein's distance over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
