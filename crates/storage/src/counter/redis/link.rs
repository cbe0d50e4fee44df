//! The way to the Redis as it is now: up, being made, or known to be down. It is made anew in the background. What is said of it here is
//! said of the first connection, which decides; beside it there are [shortcuts](super::shortcut).
//!
//! Who asks while it is down is told so at once, and who asks while it hangs is told within the deadline. When its caller goes away, a question is
//! still [waited](super::waited) for, so that so many are under way at most.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyferry_core::port::counter::CountersAway;
use redis::{Pipeline, ServerError, Value};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::{
    RedisError,
    dial::Dialler,
    greeting::{self, Generation},
    line::{Driver, Ended, Line, Silence},
    script::{Answer, Call},
    shortcut::{Shortcut, Shortcuts},
    waited::Waited,
};

/// What a question may take, with everything that is done for it.
const DEADLINE: Duration = Duration::from_millis(500);
/// Questions under way; more wait for one of these to end.
const IN_FLIGHT: usize = 1024;
/// How long to wait before connecting again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// How often a question is put again because the server lost the script or the counters.
const ROUNDS: usize = 4;
/// How long the start waits for a server that is not there yet.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Link {
    shared: Arc<Shared>,
    shortcuts: Shortcuts,
    /// Ends when the link is dropped.
    _keeper: JoinSet<()>,
}

struct Shared {
    dialler: Arc<Dialler>,
    state: watch::Sender<State>,
    generation: Mutex<Generation>,
    in_flight: Arc<Semaphore>,
}

#[derive(Clone)]
pub(super) enum State {
    /// The connection broke, and another is being made.
    Connecting,
    Up(Arc<Line>),
    Down(String),
}

impl State {
    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

impl Link {
    /// Connects for the first time; `known` is the generation that was remembered.
    pub(super) async fn open(dialler: Dialler, known: &str) -> Result<Self, RedisError> {
        let begun = Instant::now();
        let (line, driver) = loop {
            match Line::open(&dialler).await {
                Ok(opened) => break opened,
                Err(RedisError::Away(_)) if begun.elapsed() < PATIENCE => sleep(LONGEST_PAUSE).await,
                Err(error) => return Err(error),
            }
        };
        let settling = greeting::generation(line.connection(), &line.run_id, known);
        let settled = timeout_at(Instant::now() + DEADLINE, settling).await;
        let generation = settled.map_err(|_| RedisError::Away("it does not answer"))??;
        let dialler = Arc::new(dialler);
        let state = watch::Sender::new(State::Up(Arc::new(line)));
        let shortcuts = Shortcuts::new(Arc::clone(&dialler), state.subscribe());
        let shared = Arc::new(Shared {
            dialler,
            state,
            generation: Mutex::new(generation),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(Arc::clone(&shared), driver));
        Ok(Self { shared, shortcuts, _keeper: keeper })
    }

    pub(super) fn generation(&self) -> Generation {
        self.shared.generation()
    }

    /// Puts questions in one round trip, and again those that the server could not understand yet.
    pub(super) async fn ask(&self, calls: Vec<Call>) -> Result<Vec<Answer>, CountersAway> {
        let shortcut = self.shortcuts.here();
        self.shared.ask(&calls, shortcut, Instant::now() + DEADLINE).await
    }
}

/// Makes the connection again whenever it ends.
async fn keep(shared: Arc<Shared>, mut driver: Driver) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = driver.ended() => ended,
            never = shared.look_after() => match never {},
        };
        drop(driver);
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        match ended {
            Ended::Broke => shared.state.send_replace(State::Connecting),
            Ended::Unfit(why) => shared.state.send_replace(State::Down(why.to_owned())),
        };
        tracing::warn!(event = "counters_connection_ended", ?ended);
        // A server that takes connections and ends them is not asked without a pause.
        if begun.elapsed() < pause {
            sleep(pause).await;
        }
        driver = loop {
            match shared.connect().await {
                Ok(driver) => break driver,
                Err(error) => {
                    shared.tell_down(error);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        };
        tracing::info!(event = "counters_connected");
    }
}

impl Shared {
    async fn connect(&self) -> Result<Driver, RedisError> {
        let (line, driver) = Line::open(&self.dialler).await?;
        let known = self.generation().id;
        let settling = self.settle_generation(&line, &known);
        let settled = timeout_at(Instant::now() + DEADLINE, settling).await;
        settled.map_err(|_| RedisError::Away("it does not answer"))??;
        self.state.send_replace(State::Up(Arc::new(line)));
        Ok(driver)
    }

    /// Looks after the connection as long as it is there.
    async fn look_after(&self) -> Infallible {
        let state = self.state.borrow().clone();
        match state {
            State::Up(line) => line.look_after().await,
            State::Connecting | State::Down(_) => pending().await,
        }
    }

    /// A server is away for the same reason many times; that is said once.
    fn tell_down(&self, error: RedisError) {
        let why = match error {
            RedisError::Away(why) => why.to_owned(),
            unfit => unfit.to_string(),
        };
        let is_news = self.state.send_if_modified(|state| {
            let is_news = !matches!(state, State::Down(known) if *known == why);
            *state = State::Down(why);
            is_news
        });
        if is_news {
            tracing::warn!(event = "counters_away", %error);
        }
    }

    fn generation(&self) -> Generation {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for the generation when it is not the one that this gateway knew.
    ///
    /// An answer that comes when another one has been settled meanwhile changes nothing: it may be that of a server that was left.
    async fn settle_generation(&self, line: &Line, known: &str) -> Result<(), RedisError> {
        let settled = greeting::generation(line.connection(), &line.run_id, known).await?;
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        if generation.id == known && *generation != settled {
            tracing::warn!(event = "counters_lost", generation = settled.id);
            *generation = settled;
        }
        Ok(())
    }

    async fn ask(
        &self,
        calls: &[Call],
        mut shortcut: Option<Arc<Shortcut>>,
        deadline: Instant,
    ) -> Result<Vec<Answer>, CountersAway> {
        let waiting = timeout_at(deadline, Arc::clone(&self.in_flight).acquire_owned()).await;
        let Ok(Ok(mut under_way)) = waiting else { return Err(away("too many questions are under way")) };
        let mut answers: Vec<Option<Answer>> = calls.iter().map(|_| None).collect();
        let mut by_hash = true;
        for _ in 0..ROUNDS {
            let first = self.line(deadline).await?;
            // What the server does not know is settled on the first connection, and asked there again.
            let shorter = shortcut.take().and_then(|shortcut| shortcut.to_the_same(&first));
            let line = shorter.unwrap_or_else(|| Arc::clone(&first));
            let generation = self.generation().id;
            let mut pipeline = Pipeline::new();
            let open = || answers.iter().enumerate().filter(|(_, answer)| answer.is_none());
            for (at, _) in open() {
                pipeline.add_command(calls[at].command(&generation, by_hash));
            }
            let asked: Vec<usize> = open().map(|(at, _)| at).collect();
            let asking = Arc::clone(&line);
            let asked_there = Waited::new(async move { (asking.ask(&pipeline, deadline).await, under_way) });
            let values;
            (values, under_way) = asked_there.await;
            let values = values.map_err(|silence| match silence {
                Silence::Broke => away("the connection broke"),
                Silence::Late => away("it did not answer in time"),
            })?;
            if values.len() != asked.len() {
                return Err(garbage());
            }
            let mut is_other = false;
            for (at, value) in asked.into_iter().zip(values) {
                match heard(value, &[&line, &first])? {
                    Heard::Answer(answer) => answers[at] = Some(answer),
                    Heard::NoScript => by_hash = false,
                    Heard::OtherGeneration => is_other = true,
                }
            }
            if is_other {
                self.settle_in_time(&first, &generation, deadline).await?;
            }
            if answers.iter().all(Option::is_some) {
                return Ok(answers.into_iter().flatten().collect());
            }
        }
        Err(away("it forgets what it is told"))
    }

    async fn settle_in_time(
        &self,
        first: &Line,
        generation: &str,
        deadline: Instant,
    ) -> Result<(), CountersAway> {
        let settling = timeout_at(deadline, self.settle_generation(first, generation));
        let Ok(settled) = settling.await else {
            // Where the question was answered on a shortcut, nothing else is asked on it that would find out.
            first.end(Ended::Unfit("it does not answer"));
            return Err(away("it did not answer in time"));
        };
        settled.map_err(|error| CountersAway(error.to_string()))
    }

    async fn line(&self, deadline: Instant) -> Result<Arc<Line>, CountersAway> {
        let mut state = self.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Up(line) => return Ok(Arc::clone(line)),
                State::Down(why) => return Err(CountersAway(why.clone())),
                State::Connecting => {}
            }
            let Ok(Ok(())) = timeout_at(deadline, state.changed()).await else {
                return Err(away("there is no connection"));
            };
        }
    }
}

enum Heard {
    Answer(Answer),
    NoScript,
    OtherGeneration,
}

fn heard(value: Value, lines: &[&Line]) -> Result<Heard, CountersAway> {
    match value {
        Value::ServerError(error) if error.code() == "NOSCRIPT" => Ok(Heard::NoScript),
        Value::ServerError(error) => Err(fault(&error, lines)),
        value => match Answer::of(value) {
            Some(answer) if answer.word() == "other" => Ok(Heard::OtherGeneration),
            Some(answer) => Ok(Heard::Answer(answer)),
            None => Err(garbage()),
        },
    }
}

/// What an error of the server means. A server that is no master, or not any more, is looked for again.
fn fault(error: &ServerError, lines: &[&Line]) -> CountersAway {
    // Redis 6.2 puts the code of a command that failed in a script into the text of another error.
    let inner = |code: &str| error.details().is_some_and(|text| text.contains(&format!("-{code} ")));
    let says = |code: &str| error.code() == code || inner(code);
    let (why, is_unfit) = match () {
        () if says("OOM") => ("its memory is full", false),
        () if says("READONLY") => ("it is read-only", true),
        () if says("LOADING") => ("it is reading its data from disk", true),
        () if says("MASTERDOWN") => ("it is a replica", true),
        () if says("NOAUTH") => ("it asks for a password", true),
        () if says("NOPERM") => ("it does not permit a command that is needed", true),
        () if says("BUSY") => ("it is busy with a script", false),
        () if says("MISCONF") => ("it cannot write to its disk", false),
        () if says("NOREPLICAS") => ("it has too few replicas", false),
        () => ("it answered with an error", false),
    };
    if is_unfit {
        for line in lines {
            line.end(Ended::Unfit(why));
        }
    }
    away(why)
}

pub(super) fn away(why: &str) -> CountersAway {
    CountersAway(why.to_owned())
}

pub(super) fn garbage() -> CountersAway {
    away("it answered something else than what was asked")
}
