//! Messages that wait until the application polls for them.
//!
//! Invariant: of a queue that was given up or moved, nothing is handed out any more; what was handed out
//! counts as consumed only when the application asks again, so a crash repeats it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::puller::Puller;
use crate::client::message::ReceivedMessage;

/// See the module. Bounded by what the pullers may have in flight.
#[derive(Default)]
pub(super) struct Buffer {
    content: Mutex<Content>,
    arrived: Notify,
}

#[derive(Default)]
struct Content {
    waiting: VecDeque<(Arc<Puller>, VecDeque<ReceivedMessage>)>,
    handed_out: Vec<(Arc<Puller>, Vec<ReceivedMessage>)>,
}

impl Buffer {
    /// What a pull brought.
    pub(super) fn push(&self, puller: &Arc<Puller>, messages: Vec<ReceivedMessage>) {
        let mut content = self.content.lock();
        // Asked under the lock: whoever gives the queue up removes what is here afterwards.
        if messages.is_empty() || puller.is_abandoned() {
            return;
        }
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::CountsUnpolled) {
            puller.consumed(&messages);
        }
        content.waiting.push_back((puller.clone(), messages.into()));
        self.arrived.notify_one();
    }

    /// Forgets what an abandoned puller brought.
    pub(super) fn forget(&self, puller: &Arc<Puller>) {
        self.content.lock().waiting.retain(|(of, _)| !Arc::ptr_eq(of, puller));
    }

    /// The application is done with everything it was given.
    pub(super) fn consumed(&self) {
        let handed_out = std::mem::take(&mut self.content.lock().handed_out);
        for (puller, messages) in handed_out {
            puller.consumed(&messages);
        }
    }

    /// Messages of one queue, in its order; waits until there are some.
    pub(super) async fn take(&self, messages_max: usize) -> Vec<ReceivedMessage> {
        loop {
            let arrived = self.arrived.notified();
            let taken = self.take_now(messages_max);
            if !taken.is_empty() {
                return taken;
            }
            arrived.await;
        }
    }

    fn take_now(&self, messages_max: usize) -> Vec<ReceivedMessage> {
        let mut content = self.content.lock();
        let Some((puller, mut messages)) = content.waiting.pop_front() else { return Vec::new() };
        let count = messages.len().min(messages_max.max(1));
        let taken: Vec<ReceivedMessage> = messages.drain(..count).collect();
        content.handed_out.push((puller.clone(), taken.clone()));
        if !messages.is_empty() {
            content.waiting.push_front((puller, messages));
        }
        taken
    }
}
