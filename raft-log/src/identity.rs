//! The identity file: whose log a directory holds.
//!
//! Invariant: a log is created only in a directory that holds none, and opened only by the member
//! that created it. The file is written last at creation, so it also says that creation finished.

use std::path::Path;

use crate::disk::Disk;
use crate::error::LogError;
use crate::files;
use crate::options::LogOptions;
use crate::sealed_text;

pub(crate) const TITLE: &str = "raftmq log, format 1";

/// The content of the identity file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) segment_bytes: u64,
    pub(crate) voters: Vec<u64>,
}

impl Identity {
    pub(crate) fn of(options: &LogOptions) -> Self {
        Self {
            cluster: options.cluster.clone(),
            group: options.group.clone(),
            member: options.member.clone(),
            segment_bytes: options.segment_bytes,
            voters: options.voters.clone(),
        }
    }

    /// Text, because operators look here when two directories got mixed up.
    pub(crate) fn encode(&self) -> String {
        let voters: Vec<String> = self.voters.iter().map(u64::to_string).collect();
        let lines = format!(
            "cluster={}\ngroup={}\nmember={}\nsegmentBytes={}\nvoters={}\n",
            self.cluster,
            self.group,
            self.member,
            self.segment_bytes,
            voters.join(",")
        );
        sealed_text::seal(TITLE, &lines)
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut fields = sealed_text::open(TITLE, text)?;
        let mut field = |name: &str| fields.next(name).map(str::to_owned);
        let (cluster, group, member) = (field("cluster")?, field("group")?, field("member")?);
        let segment_bytes = field("segmentBytes")?.parse().ok()?;
        let voters = field("voters")?
            .split(',')
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().ok())
            .collect::<Option<_>>()?;
        Some(Self { cluster, group, member, segment_bytes, voters })
    }

    /// Refuses a directory that was created for somebody else. The voters may have changed since.
    pub(crate) fn check(&self, options: &LogOptions, dir: &Path) -> Result<(), LogError> {
        let pairs = [
            ("cluster", self.cluster.clone(), options.cluster.clone()),
            ("group", self.group.clone(), options.group.clone()),
            ("member", self.member.clone(), options.member.clone()),
            ("segment size", self.segment_bytes.to_string(), options.segment_bytes.to_string()),
        ];
        for (field, stored, configured) in pairs {
            if stored != configured {
                return Err(LogError::WrongIdentity {
                    dir: dir.to_path_buf(),
                    reason: format!(
                        "its {field} is {stored:?}, the configuration says {configured:?}"
                    ),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn load<D: Disk>(disk: &D, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(files::IDENTITY);
        if !files::exists(disk, &path)? {
            return Ok(None);
        }
        let content = files::read_if_readable(disk, &path)?.unwrap_or_default();
        match std::str::from_utf8(&content).ok().and_then(Self::decode) {
            Some(identity) => Ok(Some(identity)),
            None => Err(LogError::corrupt(&path, 0, "the identity file cannot be read")),
        }
    }

    pub(crate) fn store<D: Disk>(&self, disk: &D, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(files::IDENTITY);
        files::replace_with(disk, dir, &path, &[self.encode().as_bytes()]).map(drop)
    }
}
