//! A name server of a few lines: what it is told to answer, and what it was asked.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::net::UdpSocket;

pub(crate) const A: u16 = 1;
pub(crate) const CNAME: u16 = 5;
pub(crate) const AAAA: u16 = 28;
pub(crate) const HTTPS: u16 = 65;

/// A record: its type and its data.
pub(crate) type Record = (u16, Vec<u8>);

/// What a name answers: the records of each lookup in turn, the last ones for ever.
#[derive(Clone, Default)]
pub(crate) struct Zone {
    lookups: Vec<Vec<Record>>,
    /// Sent along in each answer, asked or not.
    additional: Vec<Record>,
    /// The name does not exist.
    missing: bool,
}

impl Zone {
    /// The same addresses for ever.
    pub(crate) fn of(addresses: &[&str]) -> Self {
        Self { lookups: vec![addresses.iter().map(|text| address(text)).collect()], ..Self::default() }
    }

    /// One list of addresses after the other.
    pub(crate) fn in_turn(lookups: &[Vec<&str>]) -> Self {
        let lookups = lookups.iter().map(|list| list.iter().map(|text| address(text)).collect());
        Self { lookups: lookups.collect(), ..Self::default() }
    }

    /// A name that does not exist.
    pub(crate) fn missing() -> Self {
        Self { missing: true, ..Self::default() }
    }

    /// An alias in front of the addresses.
    pub(crate) fn behind(mut self, alias: &str) -> Self {
        for records in &mut self.lookups {
            records.insert(0, (CNAME, name(alias)));
        }
        self
    }

    /// A record in the additional section, and as the answer to whoever asks for its type.
    pub(crate) fn with(mut self, record: Record) -> Self {
        self.additional.push(record);
        self
    }
}

fn address(text: &str) -> Record {
    match text.parse().expect("an address") {
        IpAddr::V4(ip) => (A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
    }
}

/// An HTTPS record (RFC 9460) of priority 1 for the name itself, with a port and an address hint.
pub(crate) fn https(port: u16, hint: [u8; 4]) -> Record {
    let mut data = vec![0, 1, 0];
    data.extend([0, 3, 0, 2]);
    data.extend(port.to_be_bytes());
    data.extend([0, 4, 0, 4]);
    data.extend(hint);
    (HTTPS, data)
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// The server, and the questions it got.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl NameServer {
    /// Answers for these names; any other does not exist.
    pub(crate) async fn start(zones: HashMap<String, Zone>) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port");
        let server = Self { address: socket.local_addr().expect("bound"), asked: Arc::default() };
        let asked = Arc::clone(&server.asked);
        tokio::spawn(async move {
            let mut counts: HashMap<(String, u16), usize> = HashMap::new();
            let mut space = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut space).await {
                let Some((query, kind, end)) = question(&space[..length]) else { continue };
                asked.lock().unwrap_or_else(PoisonError::into_inner).push((query.clone(), kind));
                let turn = counts.entry((query.clone(), kind)).or_default();
                let answer = answer(&space[..end], zones.get(&query), kind, *turn);
                *turn += 1;
                let _ = socket.send_to(&answer, client).await;
            }
        });
        server
    }

    /// The questions so far: names in lower case, and types.
    pub(crate) fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The first question's name and type, and where it ends.
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn answer(question: &[u8], zone: Option<&Zone>, kind: u16, turn: usize) -> Vec<u8> {
    let exists = zone.is_some_and(|zone| !zone.missing);
    let zone = zone.cloned().unwrap_or_default();
    let records =
        zone.lookups.get(turn.min(zone.lookups.len().saturating_sub(1))).cloned().unwrap_or_default();
    let mut answers: Vec<&Record> =
        records.iter().filter(|(of, _)| *of == kind || (*of == CNAME && kind != HTTPS)).collect();
    answers.extend(zone.additional.iter().filter(|(of, _)| *of == kind));
    let mut message = question.to_vec();
    // A response, recursion available; NXDOMAIN for names that are not there.
    message[2] = 0x81;
    message[3] = if exists { 0x80 } else { 0x83 };
    message[6..8].copy_from_slice(&(answers.len() as u16).to_be_bytes());
    message[8..10].fill(0);
    message[10..12].copy_from_slice(&(zone.additional.len() as u16).to_be_bytes());
    // The owner of a record behind an alias is the alias's target.
    let mut owner = vec![0xc0, 12];
    for (of, data) in answers {
        record(&mut message, &owner, *of, data);
        if *of == CNAME {
            owner.clone_from(data);
        }
    }
    for (of, data) in &zone.additional {
        record(&mut message, &[0xc0, 12], *of, data);
    }
    message
}

fn record(message: &mut Vec<u8>, owner: &[u8], kind: u16, data: &[u8]) {
    message.extend_from_slice(owner);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 1]);
    message.extend((data.len() as u16).to_be_bytes());
    message.extend_from_slice(data);
}
