//! The protocol between a suite and its runner: one line a case on standard output, `PASS name`,
//! `FAIL name reason`, `LACKS name why` for what the client itself cannot do, and `INFO key=value`.
//! `CREATE-TOPIC` and `KILL-LEADER` are requests; each is answered by one line on standard input.

use std::error::Error;
use std::fmt::Debug;
use std::time::{Duration, Instant};

pub type Problem = Box<dyn Error + Send + Sync>;
pub type Outcome<T = ()> = Result<T, Problem>;

const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Default)]
pub struct Cases {
    failed: usize,
}

impl Cases {
    pub fn failed(&self) -> usize {
        self.failed
    }

    pub async fn run(&mut self, name: &str, case: impl Future<Output = Outcome>) {
        match case.await {
            Ok(()) => say(&format!("PASS {name}")),
            Err(problem) => {
                self.failed += 1;
                // This client's errors say in `Debug` alone what they are about.
                say(&format!(
                    "FAIL {name} {problem} {}",
                    format!("{problem:?}").replace('\n', " ")
                ));
            }
        }
    }
}

pub fn say(line: &str) {
    println!("{line}");
}

/// Waits for the runner while the client goes on: this thread is none of the client's.
pub fn ask(request: &str) -> Outcome {
    say(request);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer)?;
    check(read > 0, || "the runner went away".to_owned())
}

pub fn check(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what().into()) }
}

pub fn equal<T: PartialEq + Debug>(found: T, expected: T, what: &str) -> Outcome {
    check(found == expected, || format!("{what}: {found:?}, not {expected:?}"))
}

/// Waits for what another task of the client brings about.
pub async fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let end = Instant::now() + limit;
    while !holds() {
        check(Instant::now() < end, || format!("after {limit:?} still not: {what}"))?;
        pause(LOOK_AGAIN).await;
    }
    Ok(())
}

pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
