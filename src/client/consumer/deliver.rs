//! Hands pulled messages to the listener.
//!
//! Invariant: a message leaves the queue's in-flight set only when the listener is done with it, or
//! when the queue has gone to another member, who will be given it again.

use std::sync::Arc;

use tokio::time::sleep;

use super::puller::Puller;
use super::{ConsumeResult, Shared};
use crate::client::message::ReceivedMessage;

/// Starts listener calls for `messages`, in batches. At most as many tasks as messages in flight,
/// which the puller bounds; permits bound how many of them call the listener at once.
pub(super) fn messages(shared: &Arc<Shared>, puller: &Arc<Puller>, messages: Vec<ReceivedMessage>) {
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let batch: Arc<[ReceivedMessage]> =
            messages.by_ref().take(shared.options.consume_batch_max.max(1)).collect();
        tokio::spawn(consume(shared.clone(), puller.clone(), batch));
    }
}

async fn consume(shared: Arc<Shared>, puller: Arc<Puller>, batch: Arc<[ReceivedMessage]>) {
    loop {
        {
            let permit = shared.permits.acquire().await;
            let _permit = permit.expect("the semaphore is never closed");
            if puller.is_abandoned() {
                return;
            }
            if (shared.listener)(batch.clone()).await == ConsumeResult::Success {
                break;
            }
        }
        sleep(shared.options.later_pause).await;
    }
    puller.consumed(&batch);
}
