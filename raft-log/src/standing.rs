//! What a member may still promise: whether the memory in its directory is whole.
//!
//! A directory that was created anew holds no votes and no entries, although the member whose
//! directory it is may have given and acknowledged both. Until the member has found out, a small file
//! says how far it got. The file goes when the member is an ordinary voter.
//!
//! Invariants: the file is durable before anything else in a new directory, so a member without it has
//! lost nothing; a file that cannot be read counts as [`Standing::Lost`], which promises least.

use std::path::Path;

use crate::disk::Disk;
use crate::error::LogError;
use crate::files;
use crate::sealed_text;

pub(crate) const TITLE: &str = "raftmq standing, format 1";

/// How much of a member's past its directory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The directory is new; whether the member is, nobody said yet.
    New,
    /// A majority of the members is as new as this one, so the group is.
    Founding,
    /// The group is not new: this member had a memory and lost it, or never got to have one.
    Lost,
    /// The votes are all there, but entries that were acknowledged may be missing at the log's end.
    Doubtful,
    /// What the lost memory can have contained is known, and bounded.
    Recovering(Past),
    /// The directory holds everything that the member ever promised.
    Voter,
}

/// A bound on all that a member can have promised before it lost its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    /// It voted in no term after this one.
    pub term: u64,
    /// It acknowledged nothing beyond a log that ends with an entry of this term ...
    pub last_term: u64,
    /// ... and this index.
    pub last_index: u64,
}

impl Past {
    /// Whether a log with this end holds everything that was acknowledged.
    pub fn is_within(&self, last_term: u64, last_index: u64) -> bool {
        (last_term, last_index) >= (self.last_term, self.last_index)
    }
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Standing::New => "new",
            Standing::Founding => "founding",
            Standing::Lost => "lost",
            Standing::Doubtful => "doubtful",
            Standing::Recovering(_) => "recovering",
            Standing::Voter => "voter",
        }
    }

    /// Text, because an operator who wonders why a member does not vote looks here.
    pub(crate) fn encode(self) -> String {
        let Past { term, last_term, last_index } = match self {
            Standing::Recovering(past) => past,
            _ => Past::default(),
        };
        let word = self.word();
        sealed_text::seal(
            TITLE,
            &format!(
                "standing={word}\nterm={term}\nlastTerm={last_term}\nlastIndex={last_index}\n"
            ),
        )
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut fields = sealed_text::open(TITLE, text)?;
        let word = fields.next("standing")?;
        let term = fields.next("term")?.parse().ok()?;
        let last_term = fields.next("lastTerm")?.parse().ok()?;
        let last_index = fields.next("lastIndex")?.parse().ok()?;
        let past = Past { term, last_term, last_index };
        let all = [
            Standing::New,
            Standing::Founding,
            Standing::Lost,
            Standing::Doubtful,
            Standing::Recovering(past),
            Standing::Voter,
        ];
        all.into_iter().find(|standing| standing.word() == word)
    }

    pub(crate) fn load<D: Disk>(disk: &D, dir: &Path) -> Result<Self, LogError> {
        let path = dir.join(files::STANDING);
        if !files::exists(disk, &path)? {
            return Ok(Standing::Voter);
        }
        let content = files::read_if_readable(disk, &path)?.unwrap_or_default();
        let standing = std::str::from_utf8(&content).ok().and_then(Self::decode);
        Ok(standing.unwrap_or_else(|| {
            tracing::warn!(file = %path.display(), "cannot be read, memory counts as lost");
            Standing::Lost
        }))
    }

    /// Durable on return.
    pub(crate) fn store<D: Disk>(self, disk: &D, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(files::STANDING);
        if self == Standing::Voter {
            return files::remove_durably(disk, dir, &path);
        }
        files::replace_with(disk, dir, &path, &[self.encode().as_bytes()]).map(drop)
    }

    /// After the votes in this directory turned out to be unreadable.
    pub(crate) fn without_votes(self) -> Self {
        match self {
            // There were none yet.
            Standing::New | Standing::Founding => self,
            Standing::Lost | Standing::Doubtful | Standing::Recovering(_) | Standing::Voter => {
                Standing::Lost
            }
        }
    }

    /// After what was acknowledged last may have been forgotten.
    pub(crate) fn without_end(self) -> Self {
        match self {
            Standing::New | Standing::Founding | Standing::Lost | Standing::Doubtful => self,
            // It acknowledged entries since the others told it its past.
            Standing::Recovering(_) => Standing::Lost,
            Standing::Voter => Standing::Doubtful,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_survives_its_text_and_damage_is_seen() {
        let past = Past { term: 7, last_term: 6, last_index: u64::MAX };
        for standing in [
            Standing::New,
            Standing::Founding,
            Standing::Lost,
            Standing::Doubtful,
            Standing::Recovering(past),
        ] {
            let text = standing.encode();
            assert_eq!(Standing::decode(&text), Some(standing));
            for at in 0..text.len() {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= 1;
                let read = String::from_utf8(damaged).ok().and_then(|text| Standing::decode(&text));
                assert_eq!(read, None, "byte {at} of {text:?}");
            }
        }
    }

    #[test]
    fn a_log_is_within_the_past_when_it_ends_no_earlier() {
        let past = Past { term: 9, last_term: 5, last_index: 100 };
        assert!(past.is_within(5, 100) && past.is_within(6, 1) && past.is_within(5, 101));
        assert!(!past.is_within(5, 99) && !past.is_within(4, 1000));
    }
}
