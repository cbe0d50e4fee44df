//! One connection, from the first byte to the last, and what ends it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Value, aio::MultiplexedConnection};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    RedisError,
    dial::{Dialler, Stream},
    greeting,
};

/// What connecting may take, and what the greeting may.
const CONNECT: Duration = Duration::from_millis(500);
const GREETING: Duration = Duration::from_millis(500);
/// How long a server may say nothing to anybody until it is taken for dead.
const SILENCE: Duration = Duration::from_millis(250);
/// After how long without an answer to anybody a sign of life is asked for, and how long that may take.
const QUIET: Duration = Duration::from_secs(10);
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// Commands that wait to be written.
const BUFFER: usize = 256;

/// A connection that answers.
pub(super) struct Line {
    connection: MultiplexedConnection,
    pub(super) run_id: String,
    over: mpsc::Sender<Ended>,
    given_up: AtomicBool,
    last_answer: Mutex<Instant>,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side closed it.
    Broke,
    /// The gateway did: the server is there, and not to be used.
    Unfit(&'static str),
}

/// The task that reads and writes for a connection. The connection is gone when this is dropped, and with it whatever
/// was not answered: no late answer can come to anybody.
pub(super) struct Driver {
    task: JoinSet<()>,
    over: mpsc::Receiver<Ended>,
}

impl Driver {
    pub(super) async fn ended(&mut self) -> Ended {
        tokio::select! {
            _ = self.task.join_next() => Ended::Broke,
            Some(ended) = self.over.recv() => ended,
        }
    }
}

/// Why a question was not answered.
pub(super) enum Silence {
    Broke,
    Late,
}

impl Line {
    /// Connects and greets.
    pub(super) async fn open(dialler: &Dialler) -> Result<(Self, Driver), RedisError> {
        let dialled = timeout(CONNECT, dialler.dial()).await;
        let stream = dialled.map_err(|_| RedisError::Away("it accepts no connection in time"))??;
        let greeted = timeout(GREETING, Self::on(stream, dialler)).await;
        greeted.map_err(|_| RedisError::Away("it does not answer"))?
    }

    async fn on(mut stream: Pin<Box<dyn Stream>>, dialler: &Dialler) -> Result<(Self, Driver), RedisError> {
        if let Some(login) = &dialler.address.login {
            greeting::log_in(&mut stream, login).await?;
        }
        // The library says nothing by itself with this; what is to be said is said in the greeting.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(BUFFER);
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (mut connection, driver) = made.map_err(|_| RedisError::Away("the connection broke"))?;
        let mut task = JoinSet::new();
        task.spawn(driver);
        let run_id = greeting::greet(&mut connection, dialler.address.db).await?;
        let (end, over) = mpsc::channel(1);
        let (given_up, last_answer) = (AtomicBool::new(false), Mutex::new(Instant::now()));
        let line = Self { connection, run_id, over: end, given_up, last_answer };
        Ok((line, Driver { task, over }))
    }

    /// A handle to ask with.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Asks, and takes a server that is silent for too long for dead.
    pub(super) async fn ask(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, Silence> {
        let asked = Instant::now();
        let mut connection = self.connection();
        let answer = timeout_at(deadline, connection.send_packed_commands(pipeline, 0, pipeline.len())).await;
        match answer {
            Ok(Ok(values)) => {
                *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                Ok(values)
            }
            Ok(Err(_)) => {
                self.end(Ended::Broke);
                Err(Silence::Broke)
            }
            Err(_) => {
                if self.last_answer().max(asked).elapsed() >= SILENCE {
                    self.end(Ended::Unfit("it does not answer"));
                }
                Err(Silence::Late)
            }
        }
    }

    /// Asks something when nobody else has been answered for a while, for ever. Where somebody on the way has forgotten the connection, or the
    /// server is gone without a word, that is found out before a request has to.
    pub(super) async fn look_after(&self) -> Infallible {
        // What any user of this server may ask.
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME");
        loop {
            let until = self.last_answer() + QUIET;
            if Instant::now() < until {
                sleep_until(until).await;
            } else if self.ask(&pipeline, Instant::now() + SIGN_OF_LIFE).await.is_err() {
                // It has been ended, or is asked again after a pause.
                sleep(SIGN_OF_LIFE).await;
            }
        }
    }

    fn last_answer(&self) -> Instant {
        *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the connection up.
    pub(super) fn end(&self, why: Ended) {
        self.given_up.store(true, Ordering::Relaxed);
        // If it is full, somebody said so before.
        let _ = self.over.try_send(why);
    }

    /// Whether it was: whoever looks after it may not have heard of that yet.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}
