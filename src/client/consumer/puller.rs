//! Pulls one queue, in order, with a bounded number of messages in flight.
//!
//! Invariant: the next pull starts where the broker said the last one ended; after an error the same
//! pull is repeated, so nothing is skipped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::protocol::code::{request, response};
use crate::protocol::names;
use crate::protocol::queue::MessageQueue;
use crate::protocol::record::records;
use crate::protocol::sysflag::pull;

use super::in_order::{self, Line};
use super::process_queue::ProcessQueue;
use super::{ClientError, ConsumeFrom, Shared, deliver};
use crate::client::message::ReceivedMessage;
use crate::client::remote::{Answer, Ask};

/// After a connection error or an answer of someone who does not lead.
const PAUSE_FAILOVER: Duration = Duration::from_millis(50);
/// After any other error.
const PAUSE_ERROR: Duration = Duration::from_secs(1);
/// After the broker asked to slow down.
const PAUSE_FLOW_CONTROL: Duration = Duration::from_millis(20);
/// A pull's answer may take this much longer than the broker holds it.
const ANSWER_GRACE: Duration = Duration::from_secs(10);

/// One queue of this member.
pub(super) struct Puller {
    pub(super) queue: MessageQueue,
    state: Mutex<ProcessQueue>,
    /// Of a consumer in order.
    pub(super) line: Option<Line>,
    /// Something was consumed, or the puller was told to stop.
    progress: Notify,
    stopped: AtomicBool,
    abandoned: AtomicBool,
    /// The application wants no more for now.
    paused: AtomicBool,
}

impl Puller {
    /// Starts pulling where the group is.
    pub(super) async fn start(
        shared: &Arc<Shared>,
        queue: &MessageQueue,
        line: Option<Line>,
    ) -> Result<Arc<Puller>, ClientError> {
        let state = match stored_offset(shared, queue).await? {
            Some(offset) => ProcessQueue::new(offset, Some(offset)),
            None => ProcessQueue::new(first_offset(shared, queue).await?, None),
        };
        Ok(Puller::new(queue, state, line).spawn(shared))
    }

    /// Starts pulling its queue elsewhere, paused if this one is.
    pub(super) fn start_at(&self, shared: &Arc<Shared>, offset: i64) -> Arc<Puller> {
        let next = Puller::new(&self.queue, ProcessQueue::new(offset, None), None);
        next.set_paused(self.is_paused());
        next.spawn(shared)
    }

    fn new(queue: &MessageQueue, state: ProcessQueue, line: Option<Line>) -> Puller {
        Puller {
            queue: queue.clone(),
            state: Mutex::new(state),
            line,
            progress: Notify::new(),
            stopped: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            paused: AtomicBool::new(false),
        }
    }

    fn spawn(self, shared: &Arc<Shared>) -> Arc<Puller> {
        let puller = Arc::new(self);
        tokio::spawn(pull_loop(shared.clone(), puller.clone()));
        if puller.line.is_some() {
            tokio::spawn(in_order::consume(shared.clone(), puller.clone()));
        }
        puller
    }

    /// No pulls until told otherwise, not even the one that waits at the broker. What was pulled stays.
    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.progress.notify_waiters();
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// No more pulls; what is in flight may finish.
    pub(super) fn stop_pulling(&self) {
        self.stopped.store(true, Ordering::Release);
        // One permit for the pull loop, stored if it is not waiting now.
        self.progress.notify_one();
        self.progress.notify_waiters();
        self.line.iter().for_each(Line::wake);
    }

    /// The queue is not this member's any more: what is in flight is not offered again.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.stop_pulling();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Waits until no listener is busy with its messages.
    pub(super) async fn idle(&self) {
        if let Some(line) = &self.line {
            drop(line.turn().await);
            return;
        }
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.state.lock().len() == 0 {
                return;
            }
            progress.await;
        }
    }

    /// An offset that the broker does not know yet; none while the queue may be another's.
    pub(super) fn to_commit(&self) -> Option<i64> {
        let is_ours = self.line.as_ref().is_none_or(Line::holds);
        self.state.lock().to_commit().filter(|_| is_ours)
    }

    /// Whether a message is still to be consumed.
    pub(super) fn is_in_flight(&self, offset: i64) -> bool {
        self.state.lock().is_in_flight(offset)
    }

    /// The broker knows this offset.
    pub(super) fn committed(&self, offset: i64) {
        self.state.lock().committed(offset);
    }

    /// The listener is done with these.
    pub(super) fn consumed(&self, messages: &[ReceivedMessage]) {
        self.state.lock().consumed(messages.iter().map(|message| message.queue_offset));
        self.progress.notify_one();
        self.progress.notify_waiters();
    }

    /// Waits while as much is in flight as may be, or the application wants no more.
    async fn wait_for_room(&self, shared: &Shared) {
        let options = &shared.options;
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            {
                let state = self.state.lock();
                let full = self.is_paused()
                    || state.len() >= options.queue_messages_max
                    || state.bytes() >= options.queue_bytes_max
                    || state.span() > options.queue_span_max;
                if !full || self.is_stopped() {
                    return;
                }
            }
            progress.await;
        }
    }

    pub(super) async fn until_stopped(&self) {
        self.until(Puller::is_stopped).await;
    }

    async fn until(&self, is_so: impl Fn(&Puller) -> bool) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if is_so(self) {
                return;
            }
            progress.await;
        }
    }
}

async fn pull_loop(shared: Arc<Shared>, puller: Arc<Puller>) {
    loop {
        puller.wait_for_room(&shared).await;
        let pulled = tokio::select! {
            biased;
            () = puller.until_stopped() => return,
            // Whatever it would have brought is asked for again.
            () = puller.until(Puller::is_paused) => continue,
            pulled = pull_once(&shared, &puller) => pulled,
        };
        let Err(error) = pulled else { continue };
        tracing::debug!(queue = ?puller.queue, %error, "pull failed");
        let moved = error.is_transport()
            || matches!(error, ClientError::NoLeader(_))
            || matches!(
                error.code(),
                Some(response::SERVICE_NOT_AVAILABLE | response::NOT_LEADER_FOR_QUEUE)
            );
        let pause = match error.code() {
            _ if moved => PAUSE_FAILOVER,
            Some(response::FLOW_CONTROL) => PAUSE_FLOW_CONTROL,
            _ => PAUSE_ERROR,
        };
        tokio::select! {
            biased;
            () = puller.until_stopped() => return,
            () = sleep(pause) => {}
        }
        let routes = &shared.client.shared.routes;
        if moved && let Some(route) = routes.cached(&puller.queue.topic) {
            // The next pull reports what is wrong with the route, if anything.
            let _ = routes.refresh(&puller.queue.topic, route.generation).await;
        }
        if error.code() == Some(response::SUBSCRIPTION_NOT_EXIST) {
            shared.client.heartbeat().await;
        }
    }
}

async fn pull_once(shared: &Arc<Shared>, puller: &Arc<Puller>) -> Result<(), ClientError> {
    let queue = &puller.queue;
    let subscription = &shared.subscriptions[&queue.topic];
    let (offset, commit) = {
        let by_pulls = !shared.is_broadcast() && shared.buffer.is_none();
        let to_commit = puller.to_commit().filter(|_| by_pulls);
        (puller.state.lock().next_offset(), to_commit)
    };
    let mut flags = pull::SUSPEND | if commit.is_some() { pull::COMMIT_OFFSET } else { 0 };
    let mut code = request::PULL_MESSAGE;
    if shared.buffer.is_some() {
        // Brokers need not know what such a consumer subscribes to.
        code = request::LITE_PULL_MESSAGE;
        flags |= pull::SUBSCRIPTION | pull::LITE_PULL;
    }
    let ask = Ask::new(code)
        .with_some("subscription", shared.buffer.as_ref().map(|_| &subscription.sub_string))
        .with("consumerGroup", &shared.options.group)
        .with("topic", &queue.topic)
        .with("queueId", queue.queue_id)
        .with("queueOffset", offset)
        .with("maxMsgNums", shared.options.pull_batch_max)
        .with("sysFlag", flags)
        .with("commitOffset", commit.unwrap_or(0))
        .with("suspendTimeoutMillis", shared.options.suspend.as_millis())
        .with("subVersion", subscription.sub_version)
        .with("expressionType", &subscription.expression_type)
        .with("bname", &queue.broker_name);
    let client = &shared.client.shared;
    let route = client.routes.for_reading(&queue.topic).await?;
    let address = route.leader(&queue.broker_name)?;
    let timeout = shared.options.suspend + ANSWER_GRACE;
    let answer = client.remote.ask_within(address, &ask, timeout).await?;
    take_answer(shared, puller, offset, &answer)
}

fn take_answer(
    shared: &Arc<Shared>,
    puller: &Arc<Puller>,
    asked: i64,
    answer: &Answer,
) -> Result<(), ClientError> {
    let next = match answer.code() {
        response::SUCCESS
        | response::PULL_NOT_FOUND
        | response::PULL_RETRY_IMMEDIATELY
        | response::PULL_OFFSET_MOVED => answer.number("nextBeginOffset")?,
        _ => return Err(answer.refusal()),
    };
    if answer.code() == response::PULL_OFFSET_MOVED {
        tracing::warn!(queue = ?puller.queue, asked, next, "the broker moved the offset");
        puller.state.lock().moved(next);
        puller.line.iter().for_each(Line::clear);
        puller.progress.notify_waiters();
        return Ok(());
    }
    let mut wanted = Vec::new();
    if answer.code() == response::SUCCESS {
        let subscription = &shared.subscriptions[&puller.queue.topic];
        for record in records(answer.body()) {
            let record = record?;
            let message = ReceivedMessage::from_record(&record, &puller.queue.broker_name);
            // Brokers compare hashes of tags; two tags may share one.
            let all = subscription.tags_set.is_empty();
            if all || message.tag().is_some_and(|tag| subscription.tags_set.contains(tag)) {
                wanted.push(message);
            }
        }
    }
    let held = wanted.iter().map(|message| (message.queue_offset, message.body.len()));
    puller.state.lock().pulled(held, next);
    match (&puller.line, &shared.buffer) {
        (Some(line), _) => line.push(wanted),
        (None, Some(buffer)) => buffer.push(puller, wanted),
        (None, None) => deliver::messages(shared, puller, wanted),
    }
    Ok(())
}

/// The offset the group has stored for the queue.
pub(super) async fn stored_offset(
    shared: &Shared,
    queue: &MessageQueue,
) -> Result<Option<i64>, ClientError> {
    if let Some(local) = &shared.local_offsets {
        return Ok(local.get(queue));
    }
    let ask = queue_ask(request::QUERY_CONSUMER_OFFSET, queue)
        .with("consumerGroup", &shared.options.group)
        .with("setZeroIfNotFound", false);
    let answer = ask_leader(shared, queue, &ask).await?;
    match answer.code() {
        response::QUERY_NOT_FOUND => Ok(None),
        _ => answer.success()?.number("offset").map(Some),
    }
}

/// Where a group begins that has none. Retried messages are never skipped.
async fn first_offset(shared: &Shared, queue: &MessageQueue) -> Result<i64, ClientError> {
    match shared.options.consume_from {
        _ if names::is_retry_topic(&queue.topic) => min_offset(shared, queue).await,
        ConsumeFrom::Last => max_offset(shared, queue).await,
        ConsumeFrom::First => min_offset(shared, queue).await,
        ConsumeFrom::Timestamp(time_ms) => offset_at(shared, queue, time_ms).await,
    }
}

/// Of the oldest message.
pub(super) async fn min_offset(shared: &Shared, queue: &MessageQueue) -> Result<i64, ClientError> {
    an_offset(shared, queue, queue_ask(request::GET_MIN_OFFSET, queue)).await
}

/// Of the message that comes next.
pub(super) async fn max_offset(shared: &Shared, queue: &MessageQueue) -> Result<i64, ClientError> {
    an_offset(shared, queue, queue_ask(request::GET_MAX_OFFSET, queue)).await
}

/// Of the first message stored at or after a time.
pub(super) async fn offset_at(
    shared: &Shared,
    queue: &MessageQueue,
    time_ms: i64,
) -> Result<i64, ClientError> {
    let ask = queue_ask(request::SEARCH_OFFSET_BY_TIMESTAMP, queue).with("timestamp", time_ms);
    an_offset(shared, queue, ask).await
}

async fn an_offset(shared: &Shared, queue: &MessageQueue, ask: Ask) -> Result<i64, ClientError> {
    ask_leader(shared, queue, &ask).await?.success()?.number("offset")
}

fn queue_ask(code: i32, queue: &MessageQueue) -> Ask {
    Ask::new(code)
        .with("topic", &queue.topic)
        .with("queueId", queue.queue_id)
        .with("bname", &queue.broker_name)
}

async fn ask_leader(
    shared: &Shared,
    queue: &MessageQueue,
    ask: &Ask,
) -> Result<Answer, ClientError> {
    let client = &shared.client.shared;
    let route = client.routes.for_reading(&queue.topic).await?;
    let asked = client.remote.ask(route.leader(&queue.broker_name)?, ask).await;
    if asked.is_err() {
        client.routes.refresh(&queue.topic, route.generation).await?;
    }
    asked
}
