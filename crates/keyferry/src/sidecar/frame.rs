//! Frames: four bytes that say how long, the highest first, and so many bytes of JSON.

use std::time::Duration;

use keyferry_envelope::SecretBytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// Bytes of the longest frame, without those that say how long it is.
pub const MAX: usize = 16 * 1024;
/// Bytes that say how long a frame is.
pub const HEAD: usize = 4;
/// For a whole frame to come, from the moment it is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// For what comes after an answer that is not what was expected.
pub const REST: Duration = Duration::from_secs(1);

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It says that it has no bytes.
    #[error("the frame is empty")]
    Empty,
    /// It says that it has more than [`MAX`].
    #[error("the frame is longer than {MAX} bytes")]
    TooLong,
    /// It did not come in time.
    #[error("the frame did not come within 5 seconds")]
    TooSlow,
    /// The connection ended before it did.
    #[error("the connection ended within the frame")]
    Broken,
}

/// What the first bytes say about the length of what follows.
pub fn length(head: [u8; HEAD]) -> Result<usize, FrameError> {
    match usize::try_from(u32::from_be_bytes(head)) {
        Ok(0) => Err(FrameError::Empty),
        Ok(length) if length <= MAX => Ok(length),
        _ => Err(FrameError::TooLong),
    }
}

/// The first frame of some bytes, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// What the frame holds.
    pub body: &'a [u8],
    /// What follows.
    pub rest: &'a [u8],
}

/// Takes the first frame off; `None` if it is not whole yet.
pub fn split(bytes: &[u8]) -> Result<Option<Split<'_>>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    Ok(rest.split_at_checked(length(*head)?).map(|(body, rest)| Split { body, rest }))
}

/// Reads a frame into one buffer of exactly its size, which nothing else has seen and which is
/// wiped, also if the frame does not become whole.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<SecretBytes, FrameError> {
    let whole = async {
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await.map_err(|_| FrameError::Broken)?;
        let mut body = Zeroizing::new(vec![0; length(head)?]);
        stream.read_exact(&mut body).await.map_err(|_| FrameError::Broken)?;
        Ok(SecretBytes::new(std::mem::take(&mut body)))
    };
    tokio::time::timeout(PATIENCE, whole).await.unwrap_or(Err(FrameError::TooSlow))
}

/// Writes a frame.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), FrameError> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX).ok_or(FrameError::TooLong)?;
    let whole = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await
    };
    match tokio::time::timeout(PATIENCE, whole).await {
        Ok(written) => written.map_err(|_| FrameError::Broken),
        Err(_) => Err(FrameError::TooSlow),
    }
}

/// Takes what still comes and throws it away, for a moment at most. To close a socket with bytes in it
/// that nobody has read breaks the connection, and who is still writing would not see the answer.
pub async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let mut thrown = Zeroizing::new([0; 4096]);
    let rest = async { while matches!(stream.read(&mut *thrown).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(REST, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_split_off_when_it_is_whole() {
        let bytes = b"\0\0\0\x03abcrest";
        assert_eq!(split(bytes), Ok(Some(Split { body: b"abc", rest: b"rest" })));
        for end in 0..7 {
            assert_eq!(split(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn a_length_that_no_frame_has_is_refused_before_a_byte_of_it_is_read() {
        assert_eq!(split(b"\0\0\0\0"), Err(FrameError::Empty));
        assert_eq!(split(b"\0\0\x40\x01"), Err(FrameError::TooLong));
        assert_eq!(split(b"\xff\xff\xff\xff"), Err(FrameError::TooLong));
        assert_eq!(split(b"\0\0\x40\0"), Ok(None), "the longest one");
    }
}
