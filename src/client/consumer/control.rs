//! What an application that polls asks of its coordinator, which alone touches the pullers.
//!
//! Invariant: an answer comes when the deed is done, so what is polled afterwards knows of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::coordinator::{Pullers, commit};
use super::{ClientError, Shared};
use crate::protocol::queue::MessageQueue;

/// A request with the way back.
pub(super) enum Control {
    /// Goes on elsewhere in a queue.
    Seek(MessageQueue, i64, oneshot::Sender<Result<(), ClientError>>),
    /// Pulls these queues no more, or again.
    Pause(BTreeSet<MessageQueue>, bool, oneshot::Sender<()>),
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
            let _ = done.send(seek(shared, pullers, &queue, offset));
            None
        }
        Control::Pause(queues, paused, done) => {
            let wanted = pullers.iter().filter(|(queue, _)| queues.contains(queue));
            wanted.for_each(|(_, puller)| puller.set_paused(paused));
            let _ = done.send(());
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

fn seek(
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
    let puller = before.start_at(shared, offset);
    pullers.insert(queue.clone(), puller);
    Ok(())
}
