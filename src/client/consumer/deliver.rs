//! Hands pulled messages to the listener.
//!
//! Invariant: a message leaves the queue's in-flight set only when the listener is done with it, or
//! when the queue has gone to another member, who will be given it again.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::puller::Puller;
use super::{ClientError, Shared};
use crate::client::message::ReceivedMessage;
use crate::client::remote::Ask;
use crate::protocol::code::request;

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

async fn consume(shared: Arc<Shared>, puller: Arc<Puller>, mut batch: Arc<[ReceivedMessage]>) {
    loop {
        let result = {
            let permit = shared.permits.acquire().await;
            let _permit = permit.expect("the semaphore is never closed");
            if puller.is_abandoned() {
                return;
            }
            (shared.listener)(batch.clone()).await
        };
        let Some(delay_level) = result.delay_level() else { break };
        if shared.is_broadcast() {
            // The retry topic is the whole group's, and the others may have consumed it.
            tracing::warn!(queue = ?puller.queue, offset = batch[0].queue_offset, "not consumed, skipped");
            break;
        }
        if shared.options.send_back {
            batch = send_back(&shared, &puller, &batch, delay_level).await;
            if batch.is_empty() {
                return;
            }
        }
        sleep(shared.options.later_pause).await;
    }
    puller.consumed(&batch);
}

/// Sends messages back and is done with those that were taken; the others.
pub(super) async fn send_back(
    shared: &Shared,
    puller: &Puller,
    batch: &[ReceivedMessage],
    delay_level: i32,
) -> Arc<[ReceivedMessage]> {
    let asked = batch.iter().map(|message| send_one_back(shared, puller, message, delay_level));
    let outcomes = join_all(asked).await;
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (message, outcome) in batch.iter().zip(outcomes) {
        match outcome {
            Ok(()) => taken.push(message.clone()),
            Err(error) => {
                let offset = message.queue_offset;
                tracing::warn!(queue = ?puller.queue, offset, %error, "not taken back, it is offered again");
                left.push(message.clone());
            }
        }
    }
    puller.consumed(&taken);
    left.into()
}

async fn send_one_back(
    shared: &Shared,
    puller: &Puller,
    message: &ReceivedMessage,
    delay_level: i32,
) -> Result<(), ClientError> {
    let queue = &puller.queue;
    let ask = Ask::new(request::CONSUMER_SEND_MSG_BACK)
        .with("offset", message.physical_offset)
        .with("group", &shared.options.group)
        .with("delayLevel", delay_level)
        .with("originMsgId", message.message_id())
        .with("originTopic", &message.topic)
        .with("bname", &queue.broker_name)
        .with_some("maxReconsumeTimes", shared.options.max_reconsume_times);
    let client = &shared.client.shared;
    let route = client.routes.for_reading(&queue.topic).await?;
    let address = route.leader(&queue.broker_name)?;
    let asked = client.remote.ask(address, &ask).await;
    if asked.as_ref().is_err_and(ClientError::is_transport) {
        // An error here is reported by whoever needs the route next.
        let _ = client.routes.refresh(&queue.topic, route.generation).await;
    }
    asked?.success().map(drop)
}
