use std::task::Waker;

use http::{HeaderMap, HeaderName};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::http::ingress::{MAX_KEPT, MAX_WAITING, MAX_WAITING_SIZE, hpack::encode};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn head(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        encode(name.as_bytes(), value.as_bytes(), &mut block);
    }
    frame(1, 5, stream, &block)
}

/// Reads once as the library does. None if there is nothing.
fn read(framed: &mut FramedIo<tokio::io::DuplexStream>) -> Option<Vec<u8>> {
    let (mut space, mut cx) = ([0; 1024], Context::from_waker(Waker::noop()));
    let mut buf = ReadBuf::new(&mut space);
    match Pin::new(framed).poll_read(&mut cx, &mut buf) {
        Poll::Ready(read) => read.map(|()| buf.filled().to_vec()).ok(),
        Poll::Pending => None,
    }
}

fn read_all(framed: &mut FramedIo<tokio::io::DuplexStream>) -> Vec<u8> {
    std::iter::from_fn(|| read(framed)).flatten().collect()
}

fn connection(input: &[u8]) -> (FramedIo<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<Shared>) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let shared = Arc::<Shared>::default();
    let early = Zeroizing::new([PREFACE, input].concat());
    (FramedIo::new(server, early, PREFACE.len(), Arc::clone(&shared)), client, shared)
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
        .collect()
}

#[tokio::test]
async fn the_secrets_of_a_head_wait_until_the_library_reads_again_without_asking() {
    let key = [("x-api-key", "sk-one")];
    let (mut framed, mut client, shared) = connection(&head(1, &key));
    read_all(&mut framed);
    // It is told that there is nothing, is given the head, and asks.
    let taken = shared.secrets_of(&headers(&[("x-api-key", "*****1")])).expect("they wait");
    assert_eq!(taken.mark.0, 1);
    // This one it refuses. What comes meanwhile does not count as reading again.
    client.write_all(&head(3, &key)).await.expect("written");
    read_all(&mut framed);
    client.write_all(&head(5, &key)).await.expect("written");
    read_all(&mut framed);
    assert_eq!(shared.waiting().len(), 2);
    // A request without a secret is a question as well.
    assert!(shared.secrets_of(&HeaderMap::new()).is_some());
    assert_eq!(read(&mut framed), None);
    assert_eq!(shared.waiting().len(), 2);
    assert_eq!(read(&mut framed), None);
    assert!(shared.waiting().is_empty());
}

#[tokio::test]
async fn no_more_is_read_than_the_library_asks_about() {
    for (length, most) in [(4, MAX_WAITING), (4000, MAX_WAITING_SIZE / 4000 + 1)] {
        let value = "k".repeat(length);
        let all = 4 * MAX_WAITING as u32;
        let input: Vec<u8> = (0..all).flat_map(|at| head(1 + 2 * at, &[("x-api-key", &value)])).collect();
        let (mut framed, _client, shared) = connection(&input);
        let mut asked = 0;
        while asked < all {
            read_all(&mut framed);
            let waiting = shared.waiting().len();
            assert!(waiting > 0 && waiting <= most, "{waiting} of {length} bytes wait");
            for _ in 0..waiting {
                asked += 1;
                let mut marked = "*".repeat(length).into_bytes();
                crate::http::secrets::Mark(u64::from(asked)).write(&mut marked);
                let marked = String::from_utf8(marked).expect("text");
                assert!(shared.secrets_of(&headers(&[("x-api-key", &marked)])).is_some(), "{asked}");
            }
        }
    }
}

#[tokio::test]
async fn the_buffer_for_the_library_is_given_back() {
    let value = "v".repeat(4000);
    let input: Vec<u8> = (0..40).flat_map(|at| head(1 + 2 * at, &[("a", &value)])).collect();
    let (mut framed, _client, _) = connection(&input);
    let mut largest = 0;
    while let Some(some) = read(&mut framed) {
        largest = largest.max(framed.out.capacity());
        assert!(!some.is_empty());
    }
    assert!(largest > MAX_KEPT && framed.out.capacity() <= MAX_KEPT, "{largest}");
    assert!(framed.unread.is_empty() && framed.unread.capacity() == 0);
}

/// A head whose key the table is to remember.
fn indexed_head(stream: u32, key: &[u8]) -> Vec<u8> {
    let block = [&[0x40, 9][..], b"x-api-key", &[key.len() as u8], key].concat();
    frame(1, 5, stream, &block)
}

#[tokio::test]
async fn the_secrets_of_a_table_are_kept_until_the_settings_are_acknowledged_and_not_for_long() {
    for acknowledges in [true, false] {
        let (mut framed, mut client, _shared) = connection(&indexed_head(1, b"sk-one"));
        read_all(&mut framed);
        assert!(framed.frames.owes_an_acknowledgement());
        if acknowledges {
            client.write_all(&frame(4, 1, 0, &[])).await.expect("written");
            read_all(&mut framed);
            assert!(!framed.frames.owes_an_acknowledgement());
        }
        assert_eq!(framed.unsettled.is_set(), !acknowledges);
        if !acknowledges {
            // As if it had run for its time.
            framed.unsettled.set(std::time::Duration::ZERO);
        }
        read_all(&mut framed);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        read(&mut framed);
        assert_eq!(framed.frames.is_broken(), !acknowledges);
    }
}
