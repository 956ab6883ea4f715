//! Writing what was appended and making it durable: one group at a time, away from the caller.
//!
//! Invariants: a ticket that resolves to success covers every byte appended before it was taken, and
//! one of a sync the staged hard state too; entries are synced before the hard state that may count them as
//! committed; a failed sync is final.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::disk::{Disk, Lane};
use crate::error::LogError;
use crate::hard_state::HardStateValue;
use crate::segment::Witness;
use crate::shared::{Persist, Shared};

/// How much may become durable before the trailer says so. Damage behind what the newest trailer, index
/// file or stored commit speaks of cannot be told from a torn end.
const WITNESS_EVERY_BYTES: u64 = 1 << 20;

/// Resolves when a group of writes is durable.
#[must_use = "what was appended is durable only when the ticket says so"]
pub struct SyncTicket {
    outcome: Pin<Box<dyn Future<Output = Result<(), LogError>> + Send>>,
}

impl Future for SyncTicket {
    type Output = Result<(), LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.as_mut().poll(context)
    }
}

/// Wakes the thread that waits in [`block_on`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

impl SyncTicket {
    pub(crate) fn of(
        outcome: impl Future<Output = Result<(), LogError>> + Send + 'static,
    ) -> SyncTicket {
        SyncTicket { outcome: Box::pin(outcome) }
    }

    /// Waits for the outcome, blocking the thread: for tools and tests, not for async code.
    ///
    /// # Errors
    /// Same as awaiting it.
    pub fn wait(self) -> Result<(), LogError> {
        block_on(self)
    }
}

/// What a ticket was taken for.
pub(crate) struct Group {
    /// Counts the tickets.
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    /// The log's end when it was taken.
    pub(crate) end: Witness,
    pub(crate) hard_state: Option<HardStateValue>,
    /// Whether to wait for the medium, or only to hand the bytes to the disk.
    pub(crate) durable: bool,
}

impl<D: Disk> Shared<D> {
    pub(crate) fn begin_group(self: &Arc<Self>, group: Group) -> SyncTicket {
        let shared = self.clone();
        let done = self.disk.offload(Lane::Sync, move || {
            let mut persist = shared.persist();
            // Asked under the lock that closing takes: a closed log's files may be another's by now.
            if shared.closed.load(Ordering::Acquire) {
                return Err(LogError::Closed);
            }
            shared.check_writable()?;
            let result = shared.write_group(&mut persist, &group);
            shared.latch(result)
        });
        SyncTicket::of(async move { done.await.unwrap_or(Err(LogError::Closed)) })
    }

    fn write_group(&self, persist: &mut Persist<D>, group: &Group) -> Result<(), LogError> {
        let pieces = std::mem::take(&mut *self.unwritten());
        // After a cut, this group's numbers mean nothing any more; its bytes are synced all the same.
        let current = persist.epoch == group.epoch;
        if current && group.durable && witness_is_due(persist, pieces.is_empty()) {
            let last = {
                let table = self.table();
                table.segments[table.segments.len() - 1].segment.clone()
            };
            last.write_witness(persist.durable)?;
            persist.witnessed = persist.durable;
            persist.writer.covers(&last);
        }
        persist.writer.write(&pieces, group.durable)?;
        if let Some(last) = pieces.last() {
            self.written_position.fetch_max(last.end(), Ordering::AcqRel);
        }
        if !group.durable {
            return Ok(());
        }
        if current {
            persist.durable = persist.durable.max(group.end);
            self.durable_position.store(persist.durable.position, Ordering::Release);
        }
        self.unwitnessed.store(persist.durable > persist.witnessed, Ordering::Release);
        // A disk may finish tickets out of order; the hard state never goes back.
        if let Some(value) = group.hard_state
            && group.number > persist.hard_state_number
        {
            persist.hard_state_number = group.number;
            let durable_index = persist.durable.index;
            let value = HardStateValue { commit: value.commit.min(durable_index), ..value };
            persist.hard_state.store(value, false)?;
        }
        Ok(())
    }
}

/// A witness costs a write of its own: under load one is written for many groups, and one more when
/// the log has come to rest.
fn witness_is_due<D: Disk>(persist: &Persist<D>, at_rest: bool) -> bool {
    let behind = persist.durable.position.saturating_sub(persist.witnessed.position);
    persist.durable > persist.witnessed && (at_rest || behind >= WITNESS_EVERY_BYTES)
}
