//! One connection driven by one task that both writes and reads.
//!
//! Invariant: `turn` never waits for the peer to read while answers lie unread, so a full socket in
//! one direction cannot stall the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{Answer, AnswerError, AnswerReader, remark, write_request};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const READ_BYTES_MIN: usize = 64 * 1024;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipeError {
    #[error("connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("connect to {address}: no answer within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout { address: String },
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    #[error("connection closed by the server")]
    Closed,
    #[error("no answer within {CALL_TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("the server answered code {code}: {remark}")]
    Refused { code: i32, remark: String },
}

/// A connection with its two buffers.
pub(super) struct Pipe {
    stream: TcpStream,
    reader: AnswerReader,
    /// Requests that are not written yet.
    pub out: BytesMut,
    input: BytesMut,
}

impl Pipe {
    pub(super) async fn connect(address: &str) -> Result<Pipe, PipeError> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => {
                return Err(PipeError::Connect { address: address.to_owned(), source });
            }
            Err(_) => return Err(PipeError::ConnectTimeout { address: address.to_owned() }),
        };
        stream.set_nodelay(true)?;
        let (out, input) = (BytesMut::new(), BytesMut::with_capacity(READ_BYTES_MIN));
        Ok(Pipe { stream, reader: AnswerReader::new(), out, input })
    }

    /// Writes what is pending and reads what has come; returns once answers may be there, or once
    /// everything is written if `until_written`.
    pub(super) async fn turn(&mut self, until_written: bool) -> Result<(), PipeError> {
        std::future::poll_fn(|context| self.poll_turn(context, until_written)).await
    }

    fn poll_turn(
        &mut self,
        context: &mut Context<'_>,
        until_written: bool,
    ) -> Poll<Result<(), PipeError>> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.out.is_empty() {
            match stream.as_mut().poll_write(context, &self.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(PipeError::Closed)),
                Poll::Ready(Ok(written)) => self.out.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => break,
            }
        }
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN / 4 {
            self.input.reserve(READ_BYTES_MIN);
        }
        let read = std::pin::pin!(self.stream.read_buf(&mut self.input));
        match read.poll(context) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(PipeError::Closed)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending if until_written && self.out.is_empty() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The next answer that has already been read.
    pub(super) fn next_answer(&mut self) -> Result<Option<Answer>, PipeError> {
        Ok(self.reader.next(&mut self.input)?)
    }

    /// One request and its answer, on a connection where nothing else is in flight.
    pub(super) async fn call(
        &mut self,
        code: i32,
        ext_fields: &str,
        body: &[u8],
    ) -> Result<Answer, PipeError> {
        write_request(&mut self.out, code, 0, ext_fields, body);
        let exchange = async {
            loop {
                if let Some(answer) = self.next_answer()? {
                    return Ok(answer);
                }
                self.turn(false).await?;
            }
        };
        timeout(CALL_TIMEOUT, exchange).await.unwrap_or(Err(PipeError::Timeout))
    }

    /// Like [`Pipe::call`], with any code but success turned into an error.
    pub(super) async fn call_ok(
        &mut self,
        code: i32,
        ext_fields: &str,
        body: &[u8],
    ) -> Result<Answer, PipeError> {
        let answer = self.call(code, ext_fields, body).await?;
        match answer.code {
            0 => Ok(answer),
            code => Err(PipeError::Refused { code, remark: remark(&answer.header) }),
        }
    }
}
