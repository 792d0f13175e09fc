//! The term: the `mod_revision` of `leader` in the store.

use crate::model::{Replica, Revision, Term};
use crate::store::{Compare, Entry, Key, Room, Store, StoreError, Txn, TxnOutcome, Write, encode};

/// The present term's revision, if there has been one.
pub async fn observe(store: &dyn Store) -> Result<Option<Revision>, StoreError> {
    Ok(read(store).await?.map(|entry| entry.mod_revision))
}

/// Takes the term over: one write, compared with the term that was observed. `None` when another replica was faster.
pub async fn claim(
    store: &dyn Store,
    me: &Replica,
    observed: Option<Revision>,
) -> Result<Option<Term>, StoreError> {
    let unchanged = match observed {
        Some(revision) => Compare::WrittenAt(Key::Leader, revision),
        None => Compare::Absent(Key::Leader),
    };
    let write = Write::Put(Key::Leader, encode(me), None);
    match store.txn(Txn { compares: vec![unchanged], writes: vec![write] }).await? {
        TxnOutcome::Written(revision) => Ok(Some(Term(revision))),
        TxnOutcome::Refused(_) => {
            // An earlier claim of this incarnation, whose answer was lost, may have come late: then it is the term.
            let mine = |entry: &Entry| {
                let holder: Result<Replica, _> = serde_json::from_slice(&entry.value);
                holder.is_ok_and(|holder| holder.id == me.id)
            };
            Ok(read(store).await?.filter(mine).map(|entry| Term(entry.mod_revision)))
        }
    }
}

/// Observes the term and takes it over.
pub async fn take_over(store: &dyn Store, me: &Replica) -> Result<Option<Term>, StoreError> {
    let observed = observe(store).await?;
    claim(store, me, observed).await
}

async fn read(store: &dyn Store) -> Result<Option<Entry>, StoreError> {
    Ok(store.read(Room::Leader).await?.entries.pop())
}
