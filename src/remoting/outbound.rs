//! What is to be written to one connection, gathered until the writer takes it.
//!
//! Any thread encodes its frame straight into the buffer; the writer takes everything that has
//! gathered in one go. Large bodies are queued beside the buffer without a copy.
//!
//! Invariant: frames leave in the order in which they were pushed, whole; `unsent` counts every byte
//! that was pushed and not yet handed to the kernel; nothing is pushed after the end was declared.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::limits::{BODY_BYTES_QUEUED, OUTBOUND_BUFFER_BYTES_KEPT};

pub(super) struct Outbound {
    state: Mutex<State>,
    unsent: AtomicUsize,
    bytes_max: usize,
    /// The writer has something to take, or the end was declared.
    ready: Notify,
    /// Enough was written for the reader to go on.
    drained: Notify,
}

#[derive(Default)]
struct State {
    /// Frames and bodies that precede `tail`.
    queued: VecDeque<Bytes>,
    tail: BytesMut,
    /// The reader is in the middle of a batch: it wakes the writer once, at its end.
    is_corked: bool,
    is_over: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.tail.is_empty()
    }
}

/// What the writer took.
pub(super) enum Batch {
    /// One buffer, to be given back.
    Buffer(BytesMut),
    /// Several pieces.
    Pieces(Pieces),
    /// Nothing is left and nothing will come.
    Over,
}

impl Outbound {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            unsent: AtomicUsize::new(0),
            bytes_max,
            ready: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Appends a frame: `put` writes everything up to the body, which is `bodies` in a row. False
    /// when the connection takes no more.
    pub(super) fn push(&self, bodies: &[Bytes], put: impl FnOnce(&mut BytesMut)) -> bool {
        let mut state = self.state.lock();
        if state.is_over {
            return false;
        }
        let is_first = state.is_empty();
        let before = state.tail.len();
        put(&mut state.tail);
        let mut bytes = state.tail.len() - before;
        for body in bodies {
            bytes += body.len();
            if body.len() < BODY_BYTES_QUEUED {
                state.tail.extend_from_slice(body);
                continue;
            }
            let head = state.tail.split().freeze();
            if !head.is_empty() {
                state.queued.push_back(head);
            }
            state.queued.push_back(body.clone());
        }
        self.unsent.fetch_add(bytes, Ordering::Relaxed);
        let wakes = is_first && !state.is_corked;
        drop(state);
        if wakes {
            self.ready.notify_one();
        }
        true
    }

    /// The writer is not woken until [`Outbound::uncork`].
    pub(super) fn cork(&self) {
        self.state.lock().is_corked = true;
    }

    pub(super) fn uncork(&self) {
        let mut state = self.state.lock();
        state.is_corked = false;
        let wakes = !state.is_empty();
        drop(state);
        if wakes {
            self.ready.notify_one();
        }
    }

    /// Takes no more frames; what is there is still written.
    pub(super) fn finish(&self) {
        self.state.lock().is_over = true;
        self.ready.notify_one();
    }

    pub(super) fn is_full(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) > self.bytes_max
    }

    /// Waits until half of the bound is free again.
    pub(super) async fn until_drained(&self) {
        while self.unsent.load(Ordering::Relaxed) > self.bytes_max / 2 {
            self.drained.notified().await;
        }
    }

    /// Everything that has gathered; waits for something. `spare` becomes the next buffer.
    pub(super) async fn take(&self, mut spare: BytesMut) -> Batch {
        spare.clear();
        if spare.capacity() > OUTBOUND_BUFFER_BYTES_KEPT {
            spare = BytesMut::new();
        }
        loop {
            {
                let mut state = self.state.lock();
                if !state.is_empty() {
                    let tail = std::mem::replace(&mut state.tail, spare);
                    if state.queued.is_empty() {
                        return Batch::Buffer(tail);
                    }
                    let mut pieces = std::mem::take(&mut state.queued);
                    if !tail.is_empty() {
                        pieces.push_back(tail.freeze());
                    }
                    return Batch::Pieces(Pieces { pieces });
                }
                if state.is_over {
                    return Batch::Over;
                }
            }
            self.ready.notified().await;
        }
    }

    /// The kernel took `bytes`.
    pub(super) fn written(&self, bytes: usize) {
        let before = self.unsent.fetch_sub(bytes, Ordering::Relaxed);
        let resume_at = self.bytes_max / 2;
        if before > resume_at && before - bytes <= resume_at {
            self.drained.notify_one();
        }
    }
}

/// Pieces that are written one after another.
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
}

impl Pieces {
    /// What is left of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece[..])
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn has_remaining(&self) -> bool {
        self.pieces.iter().any(|piece| !piece.is_empty())
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
        assert_eq!(count, 0, "no more is written than there is");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn everything(outbound: &Outbound) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match outbound.take(BytesMut::new()).await {
                Batch::Buffer(buffer) => all.extend_from_slice(&buffer),
                Batch::Pieces(mut pieces) => {
                    all.extend_from_slice(&pieces.copy_to_bytes(pieces.remaining()))
                }
                Batch::Over => return all,
            }
        }
    }

    #[tokio::test]
    async fn order_is_kept_whatever_the_size() {
        let outbound = Outbound::new(1 << 20);
        let large = Bytes::from(vec![b'L'; BODY_BYTES_QUEUED]);
        let mut expected = Vec::new();
        for round in 0..3u8 {
            assert!(outbound.push(&[Bytes::from_static(b"small"), large.clone()], |out| {
                out.extend_from_slice(&[round]);
            }));
            expected.push(round);
            expected.extend_from_slice(b"small");
            expected.extend_from_slice(&large);
        }
        assert!(outbound.push(&[], |out| out.extend_from_slice(b"end")));
        expected.extend_from_slice(b"end");
        outbound.finish();
        assert!(!outbound.push(&[], |_| panic!("nothing is encoded after the end")));
        assert_eq!(everything(&outbound).await, expected);
    }

    #[tokio::test]
    async fn the_reader_goes_on_at_half_the_bound() {
        let outbound = Outbound::new(100);
        outbound.push(&[], |out| out.extend_from_slice(&[0; 101]));
        assert!(outbound.is_full());
        let mut waits = std::pin::pin!(outbound.until_drained());
        assert!(futures_util::poll!(&mut waits).is_pending());
        outbound.written(50);
        assert!(futures_util::poll!(&mut waits).is_pending());
        outbound.written(1);
        waits.await;
    }

    #[tokio::test]
    async fn a_corked_batch_wakes_the_writer_once_at_its_end() {
        let outbound = Outbound::new(100);
        outbound.cork();
        outbound.push(&[], |out| out.extend_from_slice(b"a"));
        outbound.push(&[], |out| out.extend_from_slice(b"b"));
        let mut woken = std::pin::pin!(outbound.ready.notified());
        assert!(futures_util::poll!(&mut woken).is_pending());
        outbound.uncork();
        woken.await;
        let Batch::Buffer(buffer) = outbound.take(BytesMut::new()).await else { panic!() };
        assert_eq!(&buffer[..], b"ab");
    }

    #[test]
    fn pieces_are_consumed_across_their_borders() {
        let mut pieces =
            Pieces { pieces: [Bytes::from_static(b"ab"), Bytes::from_static(b"cde")].into() };
        pieces.advance(3);
        assert_eq!(pieces.chunk(), b"de");
        assert_eq!(pieces.remaining(), 2);
        pieces.advance(2);
        assert!(!pieces.has_remaining());
    }
}
