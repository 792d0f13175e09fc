//! The tasks of a replica, of which none may end before the whole does. In: tasks; out: how the first one ended that must
//! not have.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::ReplicaError;

/// Tasks of which none may end before `stop`.
pub(super) struct Tasks {
    set: JoinSet<Result<(), ReplicaError>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
}

impl Tasks {
    /// None yet.
    pub(super) fn until(stop: CancellationToken) -> Self {
        Self { set: JoinSet::new(), names: HashMap::new(), stop }
    }

    /// Starts one; `name` is for people.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), ReplicaError>> + Send + 'static,
    ) {
        self.names.insert(self.set.spawn(task).id(), name);
    }

    /// Waits for the first end; on a fault, or `stop`, all end.
    pub(super) async fn end(mut self) -> Result<(), ReplicaError> {
        let mut result = Ok(());
        while let Some(ended) = self.set.join_next_with_id().await {
            let name = |id| ReplicaError::Died(self.names.get(&id).copied().unwrap_or("a task"));
            let fault = match ended {
                Ok((_, Err(error))) => Some(error),
                Ok((id, Ok(()))) if !self.stop.is_cancelled() => Some(name(id)),
                Ok((_, Ok(()))) => None,
                Err(panicked) => Some(name(panicked.id())),
            };
            if let Some(fault) = fault
                && result.is_ok()
            {
                result = Err(fault);
                self.stop.cancel();
            }
        }
        result
    }
}

/// A task that has nothing to say at its end.
pub(super) async fn done(task: impl Future<Output = ()>) -> Result<(), ReplicaError> {
    task.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One task that waits for `stop`, and one that dies.
    async fn beside(task: impl Future<Output = Result<(), ReplicaError>> + Send + 'static) -> String {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::until(stop.clone());
        tasks.spawn("the source", async move {
            stop.cancelled().await;
            Ok(())
        });
        tasks.spawn("the lease", task);
        tasks.end().await.expect_err("a fault").to_string()
    }

    #[tokio::test]
    async fn whichever_way_a_task_dies_all_end_and_it_is_named() {
        for died in [beside(async { Ok(()) }).await, beside(async { panic!("a fault of zenvoy") }).await] {
            assert!(died.starts_with("the lease ended unexpectedly"), "{died}");
        }
    }

    #[tokio::test]
    async fn after_a_stop_every_end_is_a_good_one() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::until(stop.clone());
        tasks.spawn("the lease", async { Ok(()) });
        stop.cancel();
        tasks.end().await.expect("no fault");
    }
}
