//! The task that owns the pool: it starts and ends instances, answers reads and writes, and says the facts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zenvoy_shared::id::{Uid, WorkloadId};

use super::config::Config;
use super::file::{self, Conflicts, FileError};
use super::instance::{self, Ending, Event};
use super::keeper::Keeper;
use super::pool::{Pool, Step};
use super::watch::{Became, FileWatch};
use crate::model::{Fact, WorkloadFacts};
use crate::source::{Pod, ScaleError, ScaleWrite, Scaler, Source, SourceError};

/// Questions and events that wait at most.
const BUFFER: usize = 64;
/// An answer takes no longer.
const ANSWER: Duration = Duration::from_secs(5);

/// Local commands as a source of facts.
pub struct ProcessSource {
    path: PathBuf,
    conflicts: Box<Conflicts>,
    config: watch::Sender<Arc<Config>>,
    keeper: Arc<Keeper>,
    questions: mpsc::Receiver<Question>,
    /// It was told that the file cannot be used.
    complained: bool,
}

/// Reads and writes of the same.
#[derive(Debug, Clone)]
pub struct ProcessScaler {
    questions: mpsc::Sender<Question>,
}

/// Reads the file and makes its source and scaler; nothing runs before [`Source::run`] does.
///
/// # Errors
/// When the file cannot be read, is not valid, or claims what `conflicts` says it cannot have.
pub fn open(
    path: PathBuf,
    conflicts: Box<Conflicts>,
    keeper: Keeper,
) -> Result<(ProcessSource, ProcessScaler), FileError> {
    let config = watch::Sender::new(Arc::new(file::read(&path, &conflicts)?));
    let (sender, questions) = mpsc::channel(BUFFER);
    let source =
        ProcessSource { path, conflicts, config, keeper: Arc::new(keeper), questions, complained: false };
    Ok((source, ProcessScaler { questions: sender }))
}

impl ProcessSource {
    /// The configuration in use, now and after each change of the file.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    fn read_again(&mut self, pool: &mut Pool) {
        match file::read(&self.path, &self.conflicts) {
            Ok(config) => {
                let file = self.path.display();
                if std::mem::take(&mut self.complained) {
                    // As visible as the complaint was.
                    tracing::warn!("{file} is good, and is used again");
                } else {
                    tracing::info!(%file, "took over the changed file");
                }
                pool.load(&config, Instant::now());
                self.config.send_replace(Arc::new(config));
            }
            Err(error) => {
                self.complained = true;
                tracing::error!("the changed file is not used, the last good one stays: {error}");
            }
        }
    }
}

#[derive(Debug)]
enum Question {
    Read(WorkloadId, oneshot::Sender<Option<WorkloadFacts>>),
    Scale(WorkloadId, ScaleWrite, oneshot::Sender<Result<String, ScaleError>>),
    Pods(WorkloadId, oneshot::Sender<Result<Vec<Pod>, ScaleError>>),
}

#[async_trait]
impl Source for ProcessSource {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    async fn run(
        mut self: Box<Self>,
        facts: mpsc::Sender<Fact>,
        stop: CancellationToken,
    ) -> Result<(), SourceError> {
        let mut file = FileWatch::new(&self.path)
            .map_err(|error| SourceError(format!("watch {}: {error}", self.path.display())))?;
        let (events, mut happened) = mpsc::channel(BUFFER);
        let mut running =
            Instances { keeper: self.keeper.clone(), events, stops: BTreeMap::new(), tasks: JoinSet::new() };
        let mut pool = Pool::default();
        pool.load(&self.config.borrow(), Instant::now());
        while !stop.is_cancelled() {
            running.carry_out(&mut pool);
            tokio::select! {
                () = stop.cancelled() => {}
                Some(question) = self.questions.recv() => answer(&mut pool, question),
                Some((uid, event)) = happened.recv() => match event {
                    Event::Started => pool.started(&uid),
                    Event::Unready(said) => pool.unready(&uid, said),
                    Event::Ready(ports) => pool.ready(&uid, ports),
                },
                Some(ended) = running.tasks.join_next() => running.ended(&mut pool, ended)?,
                permit = facts.reserve(), if pool.has_facts() => {
                    let Ok(permit) = permit else { break };
                    if let Some(fact) = pool.next_fact() {
                        permit.send(fact);
                    }
                }
                () = at(pool.due()) => pool.tick(Instant::now()),
                became = file.next() => match became {
                    Became::Changed => self.read_again(&mut pool),
                    Became::Gone => {
                        self.complained = true;
                        tracing::warn!(
                            "{} is gone: the last good configuration stays until the file is back",
                            self.path.display()
                        );
                    }
                },
            }
        }
        // Whoever still asks learns at once that there is no answer.
        drop(self.questions);
        pool.shut_down();
        running.carry_out(&mut pool);
        // Each instance has a deadline of its own: its grace, then SIGKILL.
        while let Some(ended) = running.tasks.join_next().await {
            running.ended(&mut pool, ended)?;
        }
        Ok(())
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// A dropped receiver means that the asker has gone: nothing is lost.
fn answer(pool: &mut Pool, question: Question) {
    match question {
        Question::Read(id, to) => drop(to.send(pool.read(&id))),
        Question::Scale(id, write, to) => drop(to.send(pool.scale(&id, &write, Instant::now()))),
        Question::Pods(id, to) => drop(to.send(pool.pods(&id))),
    }
}

struct Instances {
    keeper: Arc<Keeper>,
    events: mpsc::Sender<(Uid, Event)>,
    stops: BTreeMap<Uid, CancellationToken>,
    tasks: JoinSet<(Uid, Ending)>,
}

impl Instances {
    fn carry_out(&mut self, pool: &mut Pool) {
        while let Some(step) = pool.next_step() {
            match step {
                Step::Start { instance, workload, spec } => {
                    tracing::debug!(%workload, %instance, "start");
                    let stop = CancellationToken::new();
                    self.stops.insert(instance.clone(), stop.clone());
                    let (keeper, events) = (self.keeper.clone(), self.events.clone());
                    self.tasks.spawn(instance::live(instance, workload, spec, keeper, events, stop));
                }
                Step::Stop(instance) => {
                    tracing::debug!(%instance, "stop");
                    if let Some(stop) = self.stops.get(&instance) {
                        stop.cancel();
                    }
                }
            }
        }
    }

    fn ended(
        &mut self,
        pool: &mut Pool,
        ended: Result<(Uid, Ending), tokio::task::JoinError>,
    ) -> Result<(), SourceError> {
        let (uid, ending) =
            ended.map_err(|error| SourceError(format!("the task of a local command failed: {error}")))?;
        tracing::debug!(instance = %uid, "{}", ending.how);
        self.stops.remove(&uid);
        if let Some(told) = pool.ended(&uid, &ending, Instant::now()) {
            tracing::warn!("{told}");
        }
        Ok(())
    }
}

impl ProcessScaler {
    async fn ask<T>(
        &self,
        workload: &WorkloadId,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, ScaleError> {
        let (to, answer) = oneshot::channel();
        let exchange = async {
            self.questions.send(question(to)).await.ok()?;
            answer.await.ok()
        };
        let reason = match tokio::time::timeout(ANSWER, exchange).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => "the local commands are being ended".into(),
            Err(_) => format!("not within {} s", ANSWER.as_secs()),
        };
        Err(ScaleError::Unavailable { workload: workload.clone(), reason })
    }
}

#[async_trait]
impl Scaler for ProcessScaler {
    async fn read(&self, workload: &WorkloadId) -> Result<Option<WorkloadFacts>, ScaleError> {
        self.ask(workload, |to| Question::Read(workload.clone(), to)).await
    }

    async fn scale(&self, workload: &WorkloadId, write: &ScaleWrite) -> Result<String, ScaleError> {
        self.ask(workload, |to| Question::Scale(workload.clone(), write.clone(), to)).await?
    }

    async fn pods(&self, workload: &WorkloadId) -> Result<Vec<Pod>, ScaleError> {
        self.ask(workload, |to| Question::Pods(workload.clone(), to)).await?
    }
}
