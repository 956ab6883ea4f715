//! Consumer groups' settings.
//!
//! Invariant: a group's settings say nothing about its progress, which outlives it unless its
//! deletion asked otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::protocol::data_version::DataVersion;
use crate::protocol::group::SubscriptionGroupConfig;

/// All consumer groups by name.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    pub(super) by_name: BTreeMap<Arc<str>, Arc<SubscriptionGroupConfig>>,
    pub(super) version: DataVersion,
}

impl Groups {
    /// Settings of the group of that name.
    pub fn get(&self, group: &str) -> Option<&Arc<SubscriptionGroupConfig>> {
        self.by_name.get(group)
    }

    /// Every group, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<SubscriptionGroupConfig>)> {
        self.by_name.iter()
    }

    /// Changes to any group's settings.
    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// Creates or replaces; returns whether anything changed.
    pub(super) fn upsert(&mut self, name: &Arc<str>, config: SubscriptionGroupConfig) -> bool {
        if self.by_name.get(name).is_some_and(|existing| **existing == config) {
            return false;
        }
        self.by_name.insert(Arc::clone(name), Arc::new(config));
        true
    }

    /// Creates unless it exists; returns whether it did.
    pub(super) fn insert(&mut self, name: &Arc<str>, config: SubscriptionGroupConfig) -> bool {
        !self.by_name.contains_key(name) && self.upsert(name, config)
    }
}
