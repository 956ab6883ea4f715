//! From facts to findings: what each means, and what to do about it.
//!
//! Invariant: facts in, findings out; nothing is asked here.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broker, Facts, Said};
use crate::config::{MEMBER_KEYS, ROLE_FACTS};

/// A member this many entries behind is not about to have them in a moment.
const LAG_ENTRIES: u64 = 10_000;
/// Store times and delays follow the leader's clock.
const CLOCK_APART_MS: i64 = 1_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// The cluster works, with less in reserve than it should have.
    Warning,
    /// Something does not work.
    Error,
}

impl Severity {
    pub(super) fn name(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub severity: Severity,
    pub place: String,
    pub what: String,
    pub advice: String,
}

/// Judges a cluster; the worst first.
pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = name_servers(facts);
    let mut groups: BTreeMap<&str, Vec<(&String, &Broker)>> = BTreeMap::new();
    for (address, broker) in &facts.brokers {
        groups.entry(&broker.group).or_default().push((address, broker));
    }
    if groups.is_empty() && findings.iter().all(|finding| finding.severity != Severity::Error) {
        findings.push(error(
            "cluster",
            "no broker is registered",
            "start the brokers, and see that their namesrvAddr names these name servers",
        ));
    }
    for (name, brokers) in groups {
        let group = Group::of(name, &brokers);
        group.members(&mut findings);
        group.leader(&mut findings);
        group.progress(&mut findings);
        group.clocks(&mut findings);
        group.disks(&mut findings);
        group.configurations(&mut findings);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn error(place: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Finding {
    let (place, what, advice) = (place.into(), what.into(), advice.into());
    Finding { severity: Severity::Error, place, what, advice }
}

fn warning(
    place: impl Into<String>,
    what: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { severity: Severity::Warning, ..error(place, what, advice) }
}

fn name_servers(facts: &Facts) -> Vec<Finding> {
    let silent =
        facts.name_servers.iter().filter_map(|(address, why)| Some((address, why.as_ref()?)));
    let all = silent.clone().count() == facts.name_servers.len();
    let finding = |(address, why): (&String, &String)| {
        let place = format!("name server {address}");
        let what = format!("does not answer: {why}");
        match all {
            true => error(place, what, "start it: clients find no broker without"),
            false => warning(place, what, "start it, or take it out of namesrvAddr everywhere"),
        }
    };
    silent.map(finding).collect()
}

/// The members of one group.
struct Group<'a> {
    name: &'a str,
    /// Those who answered, by raft id.
    said: BTreeMap<u64, (&'a str, &'a Said)>,
    silent: Vec<(&'a str, &'a str)>,
    /// Raft ids that anybody named.
    members: BTreeSet<u64>,
}

impl<'a> Group<'a> {
    fn of(name: &'a str, brokers: &[(&'a String, &'a Broker)]) -> Group<'a> {
        let mut group =
            Group { name, said: BTreeMap::new(), silent: Vec::new(), members: BTreeSet::new() };
        for (address, broker) in brokers {
            match &broker.said {
                Ok(said) => {
                    let status = &said.status;
                    group.members.insert(status.member);
                    group.members.extend(status.peers.iter().map(|peer| peer.member));
                    group.said.insert(status.member, (address, said));
                }
                Err(why) => group.silent.push((address, why)),
            }
        }
        group
    }

    fn place(&self, member: u64) -> String {
        let number = member.saturating_sub(1);
        match self.said.get(&member) {
            Some((address, _)) => format!("{} n{number} ({address})", self.name),
            None => format!("{} n{number}", self.name),
        }
    }

    fn quorum(&self) -> usize {
        self.members.len() / 2 + 1
    }

    fn members(&self, findings: &mut Vec<Finding>) {
        if self.said.is_empty() {
            for (address, why) in &self.silent {
                let (place, what) =
                    (format!("{} ({address})", self.name), format!("does not answer: {why}"));
                findings.push(error(place, what, "start it; its own log says why it ended"));
            }
            return;
        }
        let works = self.said.len() >= self.quorum();
        for member in self.members.iter().filter(|member| !self.said.contains_key(member)) {
            let what = match works {
                true => format!(
                    "does not answer: {} of {} members are left, and {} must be",
                    self.said.len(),
                    self.members.len(),
                    self.quorum()
                ),
                false => "does not answer, and a majority is missing: sends are refused".to_owned(),
            };
            let advice = "start it; its own log says why it ended";
            let place = self.place(*member);
            findings.push(if works {
                warning(place, what, advice)
            } else {
                error(place, what, advice)
            });
        }
        if self.members.len() == 1 {
            let what = "the group has one member: when its machine is lost, so are its messages";
            let advice = "for data that must survive, run groups of three (dLegerPeers)";
            findings.push(warning(self.name, what, advice));
        }
    }

    fn leader(&self, findings: &mut Vec<Finding>) {
        let newest = self.said.values().map(|(_, said)| said.status.term).max().unwrap_or(0);
        let serves = |said: &Said| said.status.serving && said.status.term == newest;
        let serving = self.said.values().filter(|(_, said)| serves(said)).count();
        if serving == 0 && self.said.len() >= self.quorum() {
            let what = "no member leads: its queues take and give nothing";
            let advice = "elections take about a second; if this stays, see raftStatus and whether \
                          the members reach each other on the ports of dLegerPeers";
            findings.push(error(self.name, what, advice));
        }
        if serving > 1 {
            let what = format!("{serving} members say that they lead in term {newest}");
            let advice = "this must not be: stop clients, keep the directories, and report it";
            findings.push(error(self.name, what, advice));
        }
    }

    fn progress(&self, findings: &mut Vec<Finding>) {
        let committed = self.said.values().map(|(_, said)| said.status.commit).max().unwrap_or(0);
        for (member, (_, said)) in &self.said {
            let status = &said.status;
            if status.role.eq_ignore_ascii_case("recovering") {
                let what = "its memory is not whole, so it does not vote yet";
                let advice = "see that all other members run: it has to hear every one of them";
                findings.push(warning(self.place(*member), what, advice));
            }
            let lag = committed.saturating_sub(status.applied);
            if lag > LAG_ENTRIES {
                let what = format!("is {lag} entries behind what its group has committed");
                let advice = "it is catching up, or its disk or network is too slow: ask again, the \
                              number must fall";
                findings.push(warning(self.place(*member), what, advice));
            }
        }
    }

    fn clocks(&self, findings: &mut Vec<Finding>) {
        for (member, (_, said)) in &self.said {
            let apart_ms = said.clock_ahead_ms.abs() - said.clock_error_ms;
            if apart_ms > CLOCK_APART_MS {
                let ahead = if said.clock_ahead_ms > 0 { "ahead of" } else { "behind" };
                let what = format!("its clock is {apart_ms} ms {ahead} this machine's");
                let advice = "let both follow NTP: delays and retention go by the leader's clock";
                findings.push(warning(self.place(*member), what, advice));
            }
        }
    }

    fn disks(&self, findings: &mut Vec<Finding>) {
        for (member, (_, said)) in &self.said {
            let ratio = said.runtime.get("commitLogDiskRatio").and_then(|text| text.parse().ok());
            let used: f64 = ratio.unwrap_or(0.0) * 100.0;
            let limit = |key: &str| said.config.get(key).and_then(|text| text.parse::<f64>().ok());
            let reaches = |key: &str| limit(key).is_some_and(|limit| used >= limit);
            let what = format!("its disk is {used:.0} % full");
            if reaches("diskSpaceWarningLevelRatio") {
                let what = format!("{what}: sends are refused while it leads");
                let advice = "free space, or let it keep less (fileReservedTime, \
                              diskMaxUsedSpaceRatio)";
                findings.push(error(self.place(*member), what, advice));
            } else if reaches("diskMaxUsedSpaceRatio") {
                let what = format!("{what}: expired segments go at any hour");
                let advice = "give it more room, or let it keep less (fileReservedTime)";
                findings.push(warning(self.place(*member), what, advice));
            }
        }
    }

    /// Whatever does not belong to one member should be the same for all: anybody may lead.
    fn configurations(&self, findings: &mut Vec<Finding>) {
        let keys: BTreeSet<&String> =
            self.said.values().flat_map(|(_, said)| said.config.keys()).collect();
        let own = |key: &&String| {
            MEMBER_KEYS.contains(&key.as_str()) || ROLE_FACTS.contains(&key.as_str())
        };
        for key in keys.into_iter().filter(|key| !own(key)) {
            let mut members: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (member, (_, said)) in &self.said {
                let value = said.config.get(key).map_or("", String::as_str);
                members.entry(value).or_default().push(format!("n{}", member.saturating_sub(1)));
            }
            if members.len() > 1 {
                let each: Vec<String> = members
                    .iter()
                    .map(|(value, members)| format!("{key}={value} on {}", members.join(", ")))
                    .collect();
                let what = format!("members are configured differently: {}", each.join("; "));
                let advice = "make their files agree and restart one after the other: whoever is \
                              elected works by its own";
                findings.push(warning(self.name, what, advice));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::body::{RaftPeer, RaftStatus};

    fn said(member: u64, leads: bool) -> Said {
        let peers = (1..=3).filter(|&peer| peer != member);
        let peers = peers.map(|member| RaftPeer { member, ..RaftPeer::default() });
        let status = RaftStatus {
            member,
            role: if leads { "Leader" } else { "Follower" }.to_owned(),
            serving: leads,
            term: 4,
            commit: 50_000,
            applied: 50_000,
            peers: peers.collect(),
            ..RaftStatus::default()
        };
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Said {
            status,
            runtime: pairs(&[("commitLogDiskRatio", "0.3")]),
            config: pairs(&[
                ("diskMaxUsedSpaceRatio", "75"),
                ("diskSpaceWarningLevelRatio", "90"),
                ("listenPort", &member.to_string()),
            ]),
            ..Said::default()
        }
    }

    fn healthy() -> Facts {
        let broker = |member: u64| {
            let said = Ok(said(member, member == 1));
            (format!("h:{member}"), Broker { group: "g".to_owned(), said })
        };
        Facts {
            name_servers: vec![("ns:1".to_owned(), None)],
            brokers: (1..=3).map(broker).collect(),
        }
    }

    fn one(facts: &Facts) -> Finding {
        let findings = examine(facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].clone()
    }

    /// Judges a healthy cluster of which one member says something else.
    fn with(change: impl FnOnce(&mut Said)) -> Finding {
        let mut facts = healthy();
        change(facts.brokers.get_mut("h:2").unwrap().said.as_mut().unwrap());
        one(&facts)
    }

    #[test]
    fn nothing_is_wrong_with_a_healthy_cluster() {
        assert_eq!(examine(&healthy()), []);
    }

    #[test]
    fn a_silent_member_is_a_warning_and_a_missing_majority_an_error() {
        let mut facts = healthy();
        facts.brokers.get_mut("h:3").unwrap().said = Err("refused".to_owned());
        let finding = one(&facts);
        assert_eq!((finding.severity, finding.place.as_str()), (Severity::Warning, "g n2"));
        assert!(finding.what.contains("2 of 3 members are left, and 2 must be"), "{finding:?}");
        facts.brokers.remove("h:2");
        let severities: Vec<_> = examine(&facts).iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Error, Severity::Error]);
    }

    #[test]
    fn a_group_without_a_leader_and_one_with_two_are_errors() {
        let mut facts = healthy();
        for broker in facts.brokers.values_mut() {
            broker.said.as_mut().unwrap().status.serving = false;
        }
        assert!(one(&facts).what.contains("no member leads"));
        let finding = with(|said| said.status.serving = true);
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.what.contains("2 members say that they lead in term 4"));
    }

    #[test]
    fn lag_clock_disk_and_memory_are_told_with_their_member() {
        let cases: [(&str, Finding); 4] = [
            ("entries behind", with(|said| said.status.applied = 20_000)),
            (
                "4000 ms behind",
                with(|said| {
                    (said.clock_ahead_ms, said.clock_error_ms) = (-4_005, 5);
                }),
            ),
            (
                "92 % full: sends are refused",
                with(|said| {
                    said.runtime.insert("commitLogDiskRatio".to_owned(), "0.92".to_owned());
                }),
            ),
            ("memory is not whole", with(|said| said.status.role = "Recovering".to_owned())),
        ];
        for (what, finding) in cases {
            assert!(finding.what.contains(what), "{what}: {finding:?}");
            assert_eq!(finding.place, "g n1 (h:2)");
        }
    }

    #[test]
    fn configurations_that_differ_are_told_but_not_what_belongs_to_a_member() {
        let finding = with(|said| drop(said.config.insert("fileReservedTime".into(), "1".into())));
        assert_eq!(
            finding.what,
            "members are configured differently: fileReservedTime= on n0, n2; fileReservedTime=1 on n1"
        );
    }

    #[test]
    fn a_name_server_is_missed_less_when_there_is_another() {
        let mut facts = healthy();
        facts.name_servers.push(("ns:2".to_owned(), Some("refused".to_owned())));
        assert_eq!(one(&facts).severity, Severity::Warning);
        let none = Facts { name_servers: vec![facts.name_servers.remove(1)], ..Facts::default() };
        assert_eq!(one(&none).severity, Severity::Error);
    }
}
