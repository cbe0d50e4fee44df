//! What is asked of a Redis before it is trusted with counters: who it is, whether it is fit, and which generation of
//! counters it holds.

use std::pin::Pin;

use keyferry_core::time::Timestamp;
use redis::{Cmd, Pipeline, ServerError, Value, aio::MultiplexedConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{
    RedisError,
    address::Login,
    dial::Stream,
    script::{Answer, GENERATION, SCRIPTS},
};

/// One life of the counters. It ends when they are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// Names it.
    pub(super) id: String,
    /// When it began, if something was lost then.
    pub(super) lost_at: Option<Timestamp>,
}

const LOADING: &str = "it is reading its data from disk";
/// The longest answer to a login.
const LINE: usize = 512;

/// Shows the login. This comes before the Redis library, whose buffers would keep the password.
pub(super) async fn log_in(stream: &mut Pin<Box<dyn Stream>>, login: &Login) -> Result<(), RedisError> {
    let broken = |_| RedisError::Away("the connection broke");
    stream.write_all(&login_command(login)).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut line = Vec::with_capacity(LINE);
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE {
            return Err(RedisError::Garbage);
        }
        line.push(stream.read_u8().await.map_err(broken)?);
    }
    match line.as_slice() {
        b"+OK\r\n" => Ok(()),
        [b'-', error @ ..] if error.starts_with(b"LOADING ") => Err(RedisError::Away(LOADING)),
        [b'-', ..] => Err(RedisError::Login),
        _ => Err(RedisError::Garbage),
    }
}

/// `AUTH` as it goes over the wire, in a buffer that does not move and is wiped.
fn login_command(login: &Login) -> Zeroizing<Vec<u8>> {
    let mut words: Vec<&[u8]> = vec![b"AUTH"];
    words.extend(login.user.as_ref().map(String::as_bytes));
    words.push(login.password.expose());
    let room = words.iter().map(|word| word.len() + 32).sum::<usize>() + 32;
    let mut command = Zeroizing::new(Vec::with_capacity(room));
    command.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    command
}

/// Chooses the database, looks at the server, and leaves the scripts there. Answers its run id.
pub(super) async fn greet(connection: &mut MultiplexedConnection, db: u16) -> Result<String, RedisError> {
    let mut pipeline = Pipeline::new();
    if db > 0 {
        pipeline.cmd("SELECT").arg(db);
    }
    for section in ["server", "replication", "memory"] {
        pipeline.cmd("INFO").arg(section);
    }
    for script in SCRIPTS.all() {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.source);
    }
    let mut answers = ask(connection, &pipeline).await?.into_iter();
    if db > 0 {
        accepted(answers.next(), |error| match error.code() {
            "ERR" => RedisError::Database,
            _ => refusal(error),
        })?;
    }
    let mut section = || accepted(answers.next(), refusal).and_then(text);
    let (server, replication, memory) = (section()?, section()?, section()?);
    let run_id = judge(&server, &replication, &memory)?;
    answers.try_for_each(|answer| accepted(Some(answer), refusal).map(drop))?;
    Ok(run_id)
}

/// Settles the generation of the counters. Whoever comes first decides for all gateways.
pub(super) async fn generation(
    mut connection: MultiplexedConnection,
    run_id: &str,
    known: &str,
) -> Result<Generation, RedisError> {
    let mut pipeline = Pipeline::new();
    let mut command = Cmd::new();
    command.arg("EVAL").arg(&SCRIPTS.generation.source).arg(1).arg(GENERATION).arg(run_id).arg(known);
    pipeline.add_command(command);
    let answer = accepted(ask(&mut connection, &pipeline).await?.into_iter().next(), refusal)?;
    let answer = Answer::of(answer).ok_or(RedisError::Garbage)?;
    let since = answer.number(1).and_then(|micros| i64::try_from(micros).ok()).ok_or(RedisError::Garbage)?;
    let lost_at = match answer.text(2) {
        Some("0") => None,
        Some("1") => Some(Timestamp::from_millis(since / 1000)),
        _ => return Err(RedisError::Garbage),
    };
    Ok(Generation { id: format!("{}:{since}", answer.word()), lost_at })
}

async fn ask(connection: &mut MultiplexedConnection, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
    let answers = connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
    answers.map_err(|_| RedisError::Away("the connection broke"))
}

fn accepted(
    answer: Option<Value>,
    refused: impl Fn(&ServerError) -> RedisError,
) -> Result<Value, RedisError> {
    match answer.ok_or(RedisError::Garbage)? {
        Value::ServerError(error) if error.code() == "LOADING" => Err(RedisError::Away(LOADING)),
        Value::ServerError(error) => Err(refused(&error)),
        value => Ok(value),
    }
}

fn refusal(error: &ServerError) -> RedisError {
    match error.code() {
        "NOAUTH" => RedisError::NoLogin,
        "NOPERM" => RedisError::Permission,
        "READONLY" | "MASTERDOWN" => RedisError::Replica,
        "OOM" => RedisError::Away("its memory is full"),
        _ => RedisError::Away("it answered with an error"),
    }
}

fn text(value: Value) -> Result<String, RedisError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| RedisError::Garbage),
        _ => Err(RedisError::Garbage),
    }
}

/// Whether the server may keep counters; its run id.
fn judge(server: &str, replication: &str, memory: &str) -> Result<String, RedisError> {
    let run_id = field(server, "run_id").filter(|id| !id.is_empty()).ok_or(RedisError::Garbage)?;
    // Valkey gives here the version of Redis that it can stand in for.
    let version = field(server, "redis_version").ok_or(RedisError::Garbage)?;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 2) {
        return Err(RedisError::Version);
    }
    // Valkey has another name for it.
    let mode = field(server, "redis_mode").or_else(|| field(server, "server_mode"));
    if mode != Some("standalone") {
        return Err(RedisError::Cluster);
    }
    if field(replication, "role") != Some("master") {
        return Err(RedisError::Replica);
    }
    match field(memory, "maxmemory_policy") {
        Some("noeviction") => Ok(run_id.to_owned()),
        Some(_) => Err(RedisError::Policy),
        None => Err(RedisError::Garbage),
    }
}

/// A line of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n";
    const MASTER: &str = "# Replication\r\nrole:master\r\n";
    const MEMORY: &str = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";

    #[test]
    fn only_a_server_that_forgets_nothing_is_trusted() {
        assert_eq!(judge(SERVER, MASTER, MEMORY).expect("fit"), "abc");
        let old = SERVER.replace("7.0.15", "6.0.20");
        assert!(matches!(judge(&old, MASTER, MEMORY), Err(RedisError::Version)));
        let just = SERVER.replace("7.0.15", "6.2.0");
        assert!(judge(&just, MASTER, MEMORY).is_ok());
        let cluster = SERVER.replace("standalone", "cluster");
        assert!(matches!(judge(&cluster, MASTER, MEMORY), Err(RedisError::Cluster)));
        let cluster = cluster.replace("redis_mode", "server_mode");
        assert!(matches!(judge(&cluster, MASTER, MEMORY), Err(RedisError::Cluster)));
        assert!(matches!(judge(SERVER, "role:slave\r\n", MEMORY), Err(RedisError::Replica)));
        let evicting = MEMORY.replace("noeviction", "volatile-ttl");
        assert!(matches!(judge(SERVER, MASTER, &evicting), Err(RedisError::Policy)));
        assert!(matches!(judge(SERVER, MASTER, ""), Err(RedisError::Garbage)));
        assert!(matches!(judge("", MASTER, MEMORY), Err(RedisError::Garbage)));
    }
}
