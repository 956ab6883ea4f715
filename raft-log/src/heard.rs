//! What the other members said that they hold durably, remembered for the day one of them comes back
//! with an older copy of its directory.
//!
//! A member's [`Claim`] never goes back as long as its directory is its own: terms only grow, and once
//! the log's last entry is of the current term, nothing of it is taken back in that term. So a member
//! that starts with less than it once claimed started on a directory that is not the newest one.
//!
//! Invariants: a remembered claim was made by that member; the file is found with its old or with its
//! new content. Nothing rests on the file being there: without it older copies go unnoticed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{Disk, Lane};
use crate::error::LogError;
use crate::files;
use crate::persist::SyncTicket;
use crate::sealed_text::{self, Fields};
use crate::shared::Shared;
use crate::standing::Past;

const TITLE: &str = "raftmq heard, format 1";

/// How far a member's directory reaches: its term, and the index at which its log ends if that entry is
/// of this term, zero if not. Claims are in order as time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Claim {
    /// The term.
    pub term: u64,
    /// The last entry, if it is of that term.
    pub index: u64,
}

impl Claim {
    /// That of a directory in `term` whose log ends with this entry.
    pub fn of(term: u64, last_term: u64, last_index: u64) -> Claim {
        Claim { term, index: if last_term == term { last_index } else { 0 } }
    }
}

impl From<Past> for Claim {
    /// What a member claims at the least once it reaches that far again.
    fn from(past: Past) -> Claim {
        Claim::of(past.term, past.last_term, past.last_index)
    }
}

/// The greatest claims heard of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// Of its earlier processes.
    before: Claim,
    /// The process that it was heard from last.
    instance: u64,
    /// Of that process.
    current: Claim,
}

impl Heard {
    /// A process of the member makes a claim.
    pub fn note(&mut self, instance: u64, claim: Claim) {
        if self.instance != instance {
            let before = self.before_that_of(instance);
            *self = Heard { before, instance, current: Claim::default() };
        }
        self.current = self.current.max(claim);
    }

    /// What was claimed before this process of the member began.
    pub fn before_that_of(&self, instance: u64) -> Claim {
        if self.instance == instance { self.before } else { self.before.max(self.current) }
    }

    /// Whether more than the last entry's index is another.
    pub fn differs_much(&self, from: &Heard) -> bool {
        (self.instance, self.current.term) != (from.instance, from.current.term)
    }
}

/// What was heard of each other member.
pub type HeardOf = BTreeMap<u64, Heard>;

fn encode(all: &HeardOf) -> String {
    let mut lines = format!("members={}\n", all.len());
    for (member, heard) in all {
        let Heard { before, instance, current } = heard;
        lines.push_str(&format!(
            "member={member}\nbeforeTerm={}\nbeforeIndex={}\ninstance={instance}\nterm={}\nindex={}\n",
            before.term, before.index, current.term, current.index
        ));
    }
    sealed_text::seal(TITLE, &lines)
}

/// What such a file holds; none when it is damaged.
pub fn heard_claims(content: &[u8]) -> Option<HeardOf> {
    let mut fields = sealed_text::open(TITLE, std::str::from_utf8(content).ok()?)?;
    let members = number(&mut fields, "members")?;
    let mut all = HeardOf::new();
    for _ in 0..members {
        let member = number(&mut fields, "member")?;
        let before = claim(&mut fields, "beforeTerm", "beforeIndex")?;
        let instance = number(&mut fields, "instance")?;
        let current = claim(&mut fields, "term", "index")?;
        all.insert(member, Heard { before, instance, current });
    }
    Some(all)
}

fn claim(fields: &mut Fields<'_>, term: &str, index: &str) -> Option<Claim> {
    Some(Claim { term: number(fields, term)?, index: number(fields, index)? })
}

fn number(fields: &mut Fields<'_>, name: &str) -> Option<u64> {
    fields.next(name)?.parse().ok()
}

/// The file beside the log.
pub struct HeardFile<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> HeardFile<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Self {
        HeardFile { shared }
    }

    /// What it holds; nothing when it is not there or cannot be read.
    pub fn load(&self) -> HeardOf {
        let path = self.shared.dir.join(files::HEARD);
        let read = || -> Result<Option<HeardOf>, LogError> {
            if !files::exists(&self.shared.disk, &path)? {
                return Ok(Some(HeardOf::new()));
            }
            Ok(heard_claims(&files::read_all(&self.shared.disk, &path)?))
        };
        match read() {
            Ok(Some(all)) => all,
            Ok(None) => {
                tracing::warn!(file = %path.display(), "is damaged: what was heard is forgotten");
                HeardOf::new()
            }
            Err(error) => {
                tracing::warn!(%error, "what was heard cannot be read, and is forgotten");
                HeardOf::new()
            }
        }
    }

    /// Replaces it, away from the caller; durable when the future resolves to success. For want of
    /// room it stays as it was.
    pub fn store(&self, all: &HeardOf) -> SyncTicket {
        let (shared, text) = (self.shared.clone(), encode(all));
        let done = self.shared.disk.offload(Lane::Prepare, move || {
            let _background = shared.background();
            // Asked under the lock that closing takes: a closed log's files may be another's by now.
            if shared.closed.load(Ordering::Acquire) {
                return Err(LogError::Closed);
            }
            shared.check_writable()?;
            match write(&shared.disk, &shared.dir, &text) {
                Err(LogError::NoSpace { .. }) => Ok(()),
                written => shared.latch(written),
            }
        });
        SyncTicket::of(async move { done.await.unwrap_or(Err(LogError::Closed)) })
    }
}

fn write<D: Disk>(disk: &D, dir: &Path, text: &str) -> Result<(), LogError> {
    files::replace_with(disk, dir, &dir.join(files::HEARD), &[text.as_bytes()]).map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn claim(term: u64, index: u64) -> Claim {
        Claim { term, index }
    }

    #[test]
    fn claims_are_in_order_whatever_the_log_lost_to_a_new_leader() {
        let story = [
            Claim::of(3, 2, 90),
            Claim::of(3, 3, 91),
            Claim::of(3, 3, 95),
            // The next leader takes entries back, and gives others.
            Claim::of(4, 3, 92),
            Claim::of(4, 4, 93),
        ];
        assert!(story.is_sorted());
        let past = Past { term: 5, last_term: 5, last_index: 99 };
        assert_eq!(Claim::from(past), claim(5, 99));
    }

    #[test]
    fn a_process_is_told_what_its_predecessors_claimed_and_nothing_of_its_own() {
        let mut heard = Heard::default();
        heard.note(7, claim(2, 10));
        heard.note(7, claim(2, 30));
        heard.note(7, claim(2, 20));
        assert_eq!((heard.before_that_of(7), heard.before_that_of(8)), (claim(0, 0), claim(2, 30)));
        heard.note(8, claim(2, 25));
        heard.note(8, claim(3, 0));
        assert_eq!((heard.before_that_of(8), heard.before_that_of(9)), (claim(2, 30), claim(3, 0)));
        heard.note(9, claim(1, 1));
        assert_eq!(heard.before_that_of(9), claim(3, 0), "a smaller claim takes nothing back");
    }

    #[test]
    fn what_was_heard_survives_its_text_and_damage_is_seen() {
        let mut all = HeardOf::new();
        assert_eq!(heard_claims(encode(&all).as_bytes()), Some(all.clone()));
        let heard =
            Heard { before: claim(1, 2), instance: u64::MAX, current: claim(3, u64::MAX - 1) };
        all.insert(1, heard);
        all.insert(3, Heard::default());
        let text = encode(&all);
        assert_eq!(heard_claims(text.as_bytes()), Some(all));
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            assert_eq!(heard_claims(&damaged), None, "byte {at} of {text:?}");
        }
    }
}
