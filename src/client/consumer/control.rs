//! What an application that polls asks of its coordinator, which alone touches the pullers.
//!
//! Invariant: an answer comes when the deed is done, so what is polled afterwards knows of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::coordinator::{Pullers, commit};
use super::puller::Puller;
use super::{ClientError, Shared};
use crate::protocol::queue::MessageQueue;

/// A request with the way back.
pub(super) enum Control {
    /// Goes on elsewhere in a queue.
    Seek(MessageQueue, i64, oneshot::Sender<Result<(), ClientError>>),
    /// Tells the broker where the application is.
    Commit(oneshot::Sender<()>),
    /// Which queues are consumed now.
    Assignment(oneshot::Sender<BTreeSet<MessageQueue>>),
    /// The queues to consume have changed.
    Reassigned(oneshot::Sender<()>),
}

/// Does what was asked. `true` when queues are to be shared out again; whoever asked hears of it after
/// that.
pub(super) async fn obey(
    shared: &Arc<Shared>,
    pullers: &mut Pullers,
    control: Control,
) -> Option<oneshot::Sender<()>> {
    match control {
        Control::Seek(queue, offset, done) => {
            // Whoever gave up waiting needs no answer, here and below.
            let _ = done.send(seek(shared, pullers, &queue, offset).await);
            None
        }
        Control::Commit(done) => {
            commit(shared, pullers).await;
            let _ = done.send(());
            None
        }
        Control::Assignment(answer) => {
            let _ = answer.send(pullers.keys().cloned().collect());
            None
        }
        Control::Reassigned(done) => Some(done),
    }
}

async fn seek(
    shared: &Arc<Shared>,
    pullers: &mut Pullers,
    queue: &MessageQueue,
    offset: i64,
) -> Result<(), ClientError> {
    let Some(before) = pullers.get(queue) else {
        let what = format!("{queue:?} is not assigned to this consumer");
        return Err(ClientError::IllegalArgument(what));
    };
    shared.abandon(before);
    let puller = Puller::start(shared, queue, None, Some(offset)).await?;
    pullers.insert(queue.clone(), puller);
    Ok(())
}
