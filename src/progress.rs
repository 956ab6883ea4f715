//! What a command that takes long says of itself meanwhile.
//!
//! Invariant: it goes to standard error alone. On a terminal one line is written over and is gone at the
//! end; elsewhere a plain line comes every few seconds, and a quick command says nothing.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A reader's eye follows this; a log would drown in it.
const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// Does `work`, and says every now and then what `line` tells.
pub(crate) async fn during<T>(work: impl Future<Output = T>, line: impl FnMut() -> String) -> T {
    let error = std::io::stderr();
    let is_terminal = error.is_terminal();
    let show = Show { out: error, is_terminal, is_shown: false };
    told(work, line, show, if is_terminal { ON_TERMINAL } else { ELSEWHERE }).await
}

async fn told<T, W: Write>(
    work: impl Future<Output = T>,
    mut line: impl FnMut() -> String,
    mut show: Show<W>,
    interval: Duration,
) -> T {
    tokio::pin!(work);
    let mut next = Instant::now() + interval;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep_until(next) => {}
        }
        show.line(&line());
        next = Instant::now() + interval;
    }
}

/// Where lines go; takes the last one away when it is dropped.
struct Show<W: Write> {
    out: W,
    is_terminal: bool,
    is_shown: bool,
}

impl<W: Write> Show<W> {
    fn line(&mut self, line: &str) {
        // Progress that cannot be shown is no reason to fail.
        let _ = if self.is_terminal {
            write!(self.out, "\r\x1b[K{line}")
        } else {
            writeln!(self.out, "{line}")
        };
        let _ = self.out.flush();
        self.is_shown = true;
    }
}

impl<W: Write> Drop for Show<W> {
    fn drop(&mut self) {
        if self.is_terminal && self.is_shown {
            let _ = write!(self.out, "\r\x1b[K");
            let _ = self.out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(is_terminal: bool, work_ms: u64) -> String {
        let mut out = Vec::new();
        let show = Show { out: &mut out, is_terminal, is_shown: false };
        let mut lines = 0;
        let line = || {
            lines += 1;
            format!("line {lines}")
        };
        let work = tokio::time::sleep(Duration::from_millis(work_ms));
        told(work, line, show, Duration::from_millis(1000)).await;
        String::from_utf8(out).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_keeps_one_line_and_loses_it_at_the_end() {
        assert_eq!(written(true, 2500).await, "\r\x1b[Kline 1\r\x1b[Kline 2\r\x1b[K");
        assert_eq!(written(true, 900).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_gets_whole_lines() {
        assert_eq!(written(false, 2500).await, "line 1\nline 2\n");
        assert_eq!(written(false, 900).await, "");
    }
}
