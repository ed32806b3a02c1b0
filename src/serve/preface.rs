//! A client's stream of HTTP/2, whose first bytes have a deadline, as a header of HTTP/1.1 has: hyper itself would wait for them for ever. From there on it is asked by pings whether it
//! is there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Bytes with which every connection begins (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// See the module.
pub(super) struct Preface<S> {
    stream: S,
    /// Until when the first bytes have to be there; none once they are.
    deadline: Option<Pin<Box<Sleep>>>,
    come: usize,
}

impl<S> Preface<S> {
    pub(super) fn new(stream: S, within: Duration) -> Self {
        Self {
            stream,
            deadline: Some(Box::pin(tokio::time::sleep(within))),
            come: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Preface<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = &mut self.deadline else {
            return polled;
        };
        if polled.is_pending() {
            let over = deadline.as_mut().poll(context);
            return over.map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.come += buffer.filled().len() - before;
        if self.come >= PREFACE {
            self.deadline = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Preface<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_client_that_does_not_begin_is_given_up_and_one_that_has_may_be_silent() {
        let within = Duration::from_millis(100);
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"PRI * HTTP").await.unwrap();
        let mut stream = Preface::new(ours, within);
        let mut all = [0; PREFACE];
        // What waits for ever fails here, rather than never.
        let read = tokio::time::timeout(within * 50, stream.read_exact(&mut all));
        let failed = read.await.unwrap().unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);

        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(&[1; PREFACE]).await.unwrap();
        let mut stream = Preface::new(ours, within);
        stream.read_exact(&mut all).await.unwrap();
        let more = tokio::time::timeout(within * 3, stream.read_u8()).await;
        assert!(more.is_err(), "it waits");
    }
}
