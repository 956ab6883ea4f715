//! What a run was measured on, and when: figures belong to a machine.
//!
//! Invariant: what the system does not tell is left out, never guessed.

use crate::{calendar, clock};

/// Label and value of what is known.
pub(super) fn describe() -> Vec<(String, String)> {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cores = std::thread::available_parallelism().ok().map(|cores| format!("{cores}"));
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let known = [
        ("measured", Some(format!("{} UTC", calendar::to_the_second(clock::now_ms())))),
        ("raftmq", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("processor", processor(&read("/proc/cpuinfo"))),
        ("cores", cores),
        ("memory", memory(&read("/proc/meminfo"))),
        ("system", (!kernel.is_empty()).then(|| format!("{} {kernel}", std::env::consts::OS))),
    ];
    known.into_iter().filter_map(|(label, value)| Some((label.to_owned(), value?))).collect()
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

fn memory(meminfo: &str) -> Option<String> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(format!("{:.1} GiB", kib / (1024.0 * 1024.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_is_understood_and_silence_too() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A: Chip @ 2 GHz\n\nmodel name\t: B\n";
        assert_eq!(processor(cpuinfo).as_deref(), Some("A: Chip @ 2 GHz"));
        assert_eq!(
            memory("MemTotal:       25165824 kB\nMemFree: 1 kB\n").as_deref(),
            Some("24.0 GiB")
        );
        assert_eq!((processor(""), memory("")), (None, None));
        assert_eq!(describe()[0].0, "measured");
    }
}
