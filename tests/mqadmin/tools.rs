//! Both tools on one cluster, given the same words.

use std::time::{Duration, Instant};

use crate::masks::tidy;
use crate::support::cluster::Cluster;
use crate::support::process::Process;
use crate::support::{admin, official};

const LIMIT: Duration = Duration::from_secs(60);
/// How often both tools are asked before their answers count as different.
const ASKS: usize = 3;

/// Both tools on one cluster.
pub struct Tools {
    pub cluster: Cluster,
    java: Process,
    /// All of them are shown, not only the first.
    pub differences: Vec<String>,
}

/// How an answer is made comparable.
pub type Mask = fn(Vec<String>) -> Vec<String>;

impl Tools {
    pub fn start() -> Option<Tools> {
        let home = official::prepared_java()?;
        let cluster = Cluster::start();
        let java = official::mqadmin(&home, cluster.directory(), &cluster.name_servers());
        Some(Tools { cluster, java, differences: Vec::new() })
    }

    pub fn mqadmin(&mut self, words: &[&str]) -> Vec<String> {
        self.java.say(&words.join("\t"));
        let deadline = Instant::now() + LIMIT;
        let ended = || panic!("mqadmin ended at {words:?}");
        let next = || self.java.next_line(deadline).unwrap_or_else(ended);
        std::iter::from_fn(|| Some(next()).filter(|line| line != "END")).collect()
    }

    /// What ours prints, and whether it exits with 0.
    pub fn ours(&self, words: &[&str]) -> (Vec<String>, bool) {
        let answer = admin::run_at(&self.cluster.name_servers(), words);
        (answer.printed.lines().map(str::to_owned).collect(), answer.success())
    }

    /// Both print the same, but for what the mask takes out.
    pub fn same(&mut self, words: &[&str], mask: Mask) -> Vec<String> {
        self.same_after(&[], words, mask)
    }

    /// The same, where each tool needs another command before it.
    ///
    /// The cluster goes on between the two answers (a consumer commits, a minute of the statistics ends),
    /// so both are asked again: only what differs each time is a difference.
    pub fn same_after(&mut self, before: &[&str], words: &[&str], mask: Mask) -> Vec<String> {
        let mut answers = (Vec::new(), Vec::new());
        for _ in 0..ASKS {
            self.prepare(before);
            let theirs = tidy(mask(tidy(self.mqadmin(words))));
            self.prepare(before);
            let (ours, success) = self.ours(words);
            assert!(success && !ours.is_empty(), "{words:?}: {ours:?}");
            answers = (tidy(mask(tidy(ours))), theirs);
            if answers.0 == answers.1 {
                return answers.0;
            }
        }
        let (ours, theirs) = (answers.0.join("\n"), answers.1.join("\n"));
        self.differences.push(format!("{words:?}\nours:\n{ours}\nmqadmin:\n{theirs}\n"));
        answers.0
    }

    fn prepare(&self, before: &[&str]) {
        if !before.is_empty() {
            assert!(self.ours(before).1, "{before:?}");
        }
    }

    /// Neither has an answer. mqadmin exits with 0 all the same and prints Java's exception; ours says
    /// why on standard error and exits with 1.
    pub fn both_refuse(&mut self, words: &[&str]) {
        let theirs = tidy(self.mqadmin(words));
        let (ours, success) = self.ours(words);
        assert!(!success && ours.is_empty() && theirs.is_empty(), "{words:?}: {ours:?} {theirs:?}");
    }

    pub fn leader(&self) -> String {
        self.cluster.address(self.cluster.leader().unwrap()).to_string()
    }
}
