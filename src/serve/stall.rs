//! A client's stream, with what TCP does not do by itself.
//!
//! A write that the client does not take fails after a while: one that stops reading would hold its answer in memory for ever. And at the end of a connection what still
//! comes in is read and thrown away for a moment: where bytes of a refused upload are left unread, the kernel resets the connection, and the client never sees why it was refused.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long the rest of a request is thrown away.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of it at most: 64 MiB.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that are thrown away at a time.
const PIECE: usize = 16 * 1024;

/// See the module.
pub(super) struct Stall<S> {
    stream: S,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer runs, for a write or for the end.
    waiting: bool,
    /// What may still be thrown away; none before the end.
    rest: Option<usize>,
}

impl<S> Stall<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            timer: Box::pin(tokio::time::sleep(limit)),
            waiting: false,
            rest: None,
        }
    }

    /// What became of a write: one that waits starts the clock, one that went on stops it.
    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = false;
            return polled;
        }
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.limit);
        }
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> Stall<S> {
    /// Reads what still comes, until the client is done, its time is over, or it is too much.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; PIECE];
        loop {
            let Some(rest @ 1..) = self.rest else {
                return Poll::Ready(());
            };
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.rest = Some(rest.saturating_sub(buffer.filled().len()));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(context),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timed(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_none() {
            let polled = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.timed(context, polled))?;
            self.rest = Some(LINGER_BYTES);
            self.timer.as_mut().reset(Instant::now() + LINGER);
        }
        ready!(self.linger(context));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails_and_one_that_goes_on_does_not() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = Stall::new(ours, Duration::from_secs(1));
        let failed = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        // Slower than the limit as a whole, but never still for so long.
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = Stall::new(ours, Duration::from_millis(1500));
        let reader = tokio::spawn(async move {
            let mut taken = [0; 8];
            while theirs.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        stream.write_all(&[0; 160]).await.unwrap();
        drop(stream);
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn what_still_comes_at_the_end_is_taken_and_no_longer_than_a_moment() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = Stall::new(ours, Duration::from_millis(200));
        let writer = tokio::spawn(async move {
            theirs.write_all(&[0; 1000]).await.unwrap();
            theirs
        });
        let started = Instant::now();
        stream.shutdown().await.unwrap();
        // The other side has not closed: the moment was waited for.
        assert!(started.elapsed() >= LINGER);
        drop(writer.await.unwrap());
    }
}
