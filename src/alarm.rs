//! A timer for a deadline that keeps moving away, as that of a silence does with every message.
//!
//! A sleep made anew for each of them enters the runtime's timers each time. This one stays armed for
//! what it was first asked, and looks again when that has come.
//!
//! Invariant: it never rings before the deadline that it is waited for with, and is never armed for a
//! later one than that.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// See the module.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// Whom it will wake, if it is armed.
    armed: Option<Waker>,
}

impl Alarm {
    /// One that is not armed.
    pub fn new() -> Alarm {
        Alarm { sleep: Box::pin(sleep_until(Instant::now())), armed: None }
    }

    /// Waits until `deadline`. May be dropped while it waits, and be asked again with another one.
    pub async fn at(&mut self, deadline: Instant) {
        poll_fn(|context| self.poll(deadline, context)).await;
    }

    fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if now >= deadline {
            return Poll::Ready(());
        }
        let due = self.sleep.deadline();
        let in_time = now < due && due <= deadline;
        if in_time && self.armed.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        if !in_time {
            self.sleep.as_mut().reset(deadline);
        }
        self.armed = Some(context.waker().clone());
        arm(self.sleep.as_mut(), context)
    }
}

/// A task that has used up its budget would be woken at once, and the timer not be armed.
fn arm(sleep: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
    #[cfg(not(madsim))]
    let sleep = std::pin::pin!(tokio::task::coop::unconstrained(sleep));
    sleep.poll(context)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_that_it_was_last_asked_for() {
        let begin = Instant::now();
        let mut alarm = Alarm::new();
        alarm.at(begin).await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "what has passed is not waited for");
        // Put off again and again, as by messages that come.
        for _ in 0..5 {
            let deadline = Instant::now() + 2 * STEP;
            assert!(timeout(STEP, alarm.at(deadline)).await.is_err(), "it rang too early");
        }
        alarm.at(begin + 8 * STEP).await;
        assert_eq!(begin.elapsed(), 8 * STEP);
        // And called nearer.
        assert!(timeout(STEP, alarm.at(begin + 30 * STEP)).await.is_err());
        alarm.at(begin + 10 * STEP).await;
        assert_eq!(begin.elapsed(), 10 * STEP);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_armed_also_by_a_task_that_has_used_up_its_budget() {
        let begin = Instant::now();
        let mut alarm = Alarm::new();
        let wait = async {
            let (send, mut received) = tokio::sync::mpsc::channel(1_000);
            (0..1_000).for_each(|number| send.try_send(number).unwrap());
            let busy = async { while received.recv().await.is_some() {} };
            tokio::select! {
                biased;
                () = busy => {}
                () = alarm.at(begin + STEP) => {}
            }
        };
        assert!(timeout(10 * STEP, wait).await.is_ok(), "it did not ring");
        assert_eq!(begin.elapsed(), STEP);
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_whoever_asked_last() {
        let begin = Instant::now();
        let mut alarm = Alarm::new();
        assert!(timeout(STEP, alarm.at(begin + 3 * STEP)).await.is_err());
        let elsewhere = tokio::spawn(async move { alarm.at(begin + 3 * STEP).await });
        assert!(elsewhere.await.is_ok());
        assert_eq!(begin.elapsed(), 3 * STEP);
    }
}
