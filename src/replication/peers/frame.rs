//! Reading and writing length-delimited frames on a socket.
//!
//! Invariant: a frame is returned whole or not at all, and one that announces more than the bound is
//! an error before any of it is buffered.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::alarm::Alarm;
use crate::replication::wire::{FrameBuffer, LENGTH_BYTES};

/// Room made for reading when the size of what comes is not known yet. Less in a simulation, whose
/// frames are small: more of them come in pieces.
const READ_BYTES: usize = if cfg!(madsim) { 2 << 10 } else { 64 << 10 };
/// A large frame's buffer grows by no more than this ahead of what has arrived.
const GROW_BYTES: usize = 4 << 20;
/// Slices handed to one vectored write.
const SLICES_MAX: usize = 64;

/// Reads frames from one half of a connection.
pub(in crate::replication) struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    frame_bytes_max: usize,
    alarm: Alarm,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that refuses frames above the bound.
    pub fn new(reader: R, frame_bytes_max: usize) -> Self {
        FrameReader { reader, buffer: BytesMut::new(), frame_bytes_max, alarm: Alarm::new() }
    }

    /// Another bound, for after the handshake.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The stream below, for writing.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The stream below; only sound while nothing was read ahead.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next frame's content; `None` when the peer closed between frames. Safe to drop while it
    /// waits.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let FrameReader { reader, buffer, frame_bytes_max, .. } = self;
        read_frame(reader, buffer, *frame_bytes_max).await
    }

    /// [`FrameReader::next`], but silence for this long is an error.
    pub async fn next_within(&mut self, silence: Duration) -> io::Result<Option<Bytes>> {
        let FrameReader { reader, buffer, frame_bytes_max, alarm } = self;
        tokio::select! {
            biased;
            read = read_frame(reader, buffer, *frame_bytes_max) => read,
            () = alarm.at(Instant::now() + silence) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the peer fell silent"))
            }
        }
    }
}

async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut BytesMut,
    frame_bytes_max: usize,
) -> io::Result<Option<Bytes>> {
    loop {
        let mut wanted = READ_BYTES;
        if let Some(header) = buffer.first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_be_bytes(*header) as usize;
            if length > frame_bytes_max {
                let text =
                    format!("a frame of {length} bytes exceeds the bound of {frame_bytes_max}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if buffer.len() >= LENGTH_BYTES + length {
                buffer.advance(LENGTH_BYTES);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
            wanted = (LENGTH_BYTES + length - buffer.len()).clamp(READ_BYTES, GROW_BYTES);
        }
        if buffer.capacity() - buffer.len() < wanted.min(READ_BYTES) {
            buffer.reserve(wanted);
        }
        if reader.read_buf(buffer).await? == 0 {
            #[cfg(madsim)]
            crate::mischief::connection_ended().await;
            if buffer.is_empty() {
                return Ok(None);
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Writes everything in the buffer and flushes; no progress for `patience` is an error.
pub(in crate::replication) async fn write_all<W: AsyncWrite + Unpin>(
    writer: &mut W,
    frames: &mut FrameBuffer,
    patience: Duration,
) -> io::Result<()> {
    let stuck = || io::Error::new(io::ErrorKind::TimedOut, "the peer does not read");
    let chunks = frames.take_chunks();
    let (mut first, mut offset) = (0, 0);
    while first < chunks.len() {
        let upto = chunks.len().min(first + SLICES_MAX);
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for (slice, chunk) in slices.iter_mut().zip(&chunks[first..upto]) {
            *slice = IoSlice::new(chunk);
        }
        slices[0] = IoSlice::new(&chunks[first][offset..]);
        let write = writer.write_vectored(&slices[..upto - first]);
        let written = timeout(patience, write).await.map_err(|_| stuck())?;
        let mut written = written.inspect_err(|error| {
            let refused = slices[..upto - first].iter().map(|slice| &slice[..]);
            raft_log::touch_what_the_kernel_could_not_read(error, refused);
        })?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while first < chunks.len() && written >= chunks[first].len() - offset {
            written -= chunks[first].len() - offset;
            (first, offset) = (first + 1, 0);
        }
        offset += written;
    }
    timeout(patience, writer.flush()).await.map_err(|_| stuck())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::replication::wire::{MAGIC, Welcome};
    use prost::Message as _;

    fn welcome(addr: &str) -> Welcome {
        Welcome { magic: MAGIC, member: 3, client_addr: addr.to_owned(), ..Default::default() }
    }

    #[tokio::test]
    async fn frames_cross_a_pipe_narrower_than_they_are() {
        let (mut near, far) = tokio::io::duplex(7);
        let sent = tokio::spawn(async move {
            let mut frames = FrameBuffer::default();
            frames.put_plain(&welcome("first"));
            frames.put_keepalive();
            let mut message = raft::eraftpb::Message::default();
            let data = vec![9; 300_000].into();
            let entry = raft::eraftpb::Entry { data, ..Default::default() };
            message.set_entries(vec![entry].into());
            frames.put_message(message);
            write_all(&mut near, &mut frames, Duration::from_secs(5)).await.unwrap();
        });
        let mut reader = FrameReader::new(far, 1 << 20);
        let first = reader.next().await.unwrap().unwrap();
        assert_eq!(Welcome::decode(first).unwrap(), welcome("first"));
        assert!(reader.next().await.unwrap().unwrap().is_empty());
        let parcel = crate::replication::wire::decode(reader.next().await.unwrap().unwrap());
        let crate::replication::wire::Parcel::Raft(message) = parcel.unwrap() else { panic!() };
        assert_eq!(message.entries[0].data, vec![9; 300_000]);
        sent.await.unwrap();
        assert!(reader.next().await.unwrap().is_none(), "a clean end between frames");
    }

    #[tokio::test]
    async fn a_frame_above_the_bound_and_a_torn_one_are_errors() {
        let mut reader = FrameReader::new(&[0, 0, 1, 0, 1, 2][..], 255);
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut reader = FrameReader::new(&[0, 0, 0, 9, 1, 2][..], 255);
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
