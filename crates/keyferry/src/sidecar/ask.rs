//! The other end of the socket: sends one request and reads the answer.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use keyferry_envelope::SecretBytes;
use serde_json::Value;

use super::frame;

/// For the answer. The sidecar gives up before.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a sidecar.
pub fn ask(socket: &Path, request: &SecretBytes) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let length = u32::try_from(request.expose().len()).map_err(too_long)?;
    // Whoever is refused is answered before the request is read.
    let _ = stream.write_all(&length.to_be_bytes()).and_then(|()| stream.write_all(request.expose()));
    let mut head = [0; frame::HEAD];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; frame::length(head).map_err(io::Error::other)?];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
