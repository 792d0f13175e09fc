//! What a failed call to etcd means. In: the client's error; out: whether the call may be made again, and where.

use std::error::Error as _;
use std::fmt::Write as _;

use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

use super::{LeaseId, StoreError};

/// A call that failed at one member.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was done: any call may be made again at another member.
    Undone(StoreError),
    /// Done or not, nobody knows (rule G2): only what may be done twice is made again.
    Unknown(StoreError),
    /// Nothing was done, because the token no longer holds.
    StaleToken(StoreError),
    /// etcd has answered, and any member would answer the same.
    Answered(StoreError),
}

const CREDENTIALS: &str = "give the user and the password that etcd knows";
const PERMISSION: &str = "grant one of the user's roles readwrite on zenvoy's prefix";
const NOT_ENABLED: &str = "enable authentication in etcd, or give no user";
const CERTIFICATES: &str = "give the authority of etcd's certificate, a host name that is in it, and, where etcd asks for it, an own \
     certificate and key";

impl Failure {
    /// Reads the error of a call at `member` that rests on `lease`.
    pub(super) fn of(error: &Error, member: &str, lease: Option<LeaseId>) -> Self {
        match (error, lease) {
            (Error::GRpcStatus(status), _) => Self::of_status(status, member, lease),
            // What the client says when a keep-alive is answered without a time to live.
            (Error::LeaseKeepAliveError(_), Some(lease)) => Self::Answered(StoreError::LeaseEnded(lease)),
            (Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::TransportError(_), _) => {
                Self::Answered(StoreError::Options(format!("{member}: {}", chain(error))))
            }
            _ => Self::Unknown(StoreError::Unavailable(format!("{member}: {error}"))),
        }
    }

    fn of_status(status: &Status, member: &str, lease: Option<LeaseId>) -> Self {
        let said = status.message();
        let reason = || format!("{member}: {}", chain(status));
        let denied = |remedy| StoreError::Denied { reason: reason(), remedy };
        let unavailable = || StoreError::Unavailable(reason());
        match (status.code(), lease) {
            (Code::NotFound, Some(lease)) => Self::Answered(StoreError::LeaseEnded(lease)),
            (Code::Unauthenticated, _) => Self::StaleToken(denied(CREDENTIALS)),
            (Code::InvalidArgument, _) if said.contains("revision of auth store is old") => {
                Self::StaleToken(denied(CREDENTIALS))
            }
            (Code::InvalidArgument, _)
                if said.contains("authentication failed") || said.contains("user name is empty") =>
            {
                Self::Answered(denied(CREDENTIALS))
            }
            (Code::FailedPrecondition, _) if said.contains("authentication is not enabled") => {
                Self::Answered(denied(NOT_ENABLED))
            }
            (Code::PermissionDenied, _) => Self::Answered(denied(PERMISSION)),
            (Code::InvalidArgument | Code::Unimplemented, _) => Self::Answered(StoreError::Refused(reason())),
            // Full, too busy, or compacted while it was read: it is so at every member, and may pass.
            (Code::ResourceExhausted | Code::OutOfRange, _) => Self::Answered(unavailable()),
            _ if is_tls(status) => Self::Undone(denied(CERTIFICATES)),
            _ if never_sent(status) || said.contains("etcdserver: no leader") => Self::Undone(unavailable()),
            _ => Self::Unknown(unavailable()),
        }
    }

    /// The same, now that a member is known to refuse the own certificate. What is known of the call stays as it is.
    pub(super) fn because_of_certificates(self, member: &str, alert: &str) -> Self {
        let denied = StoreError::Denied { reason: format!("{member}: {alert}"), remedy: CERTIFICATES };
        match self {
            Self::Undone(_) => Self::Undone(denied),
            Self::Unknown(_) => Self::Unknown(denied),
            other => other,
        }
    }

    /// The same, of a step before the call itself.
    pub(super) fn before_the_call(self) -> Self {
        match self {
            Self::Unknown(error) => Self::Undone(error),
            other => other,
        }
    }
}

/// What a cancelled watch was cancelled for: it carries the text of a status, but no code.
pub(super) fn of_cancellation(reason: &str, member: &str) -> Failure {
    let code = match reason {
        _ if reason.contains("invalid auth token") => Code::Unauthenticated,
        _ if reason.contains("permission denied") => Code::PermissionDenied,
        _ if reason.contains("auth store is old") || reason.contains("user name is empty") => {
            Code::InvalidArgument
        }
        _ => Code::Unavailable,
    };
    Failure::of_status(&Status::new(code, reason), member, None)
}

/// Whether no status of a server is behind the error, but the connection to it.
pub(super) fn is_broken_connection(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => status.source().is_some(),
        Error::TransportError(_) => true,
        _ => false,
    }
}

fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The layers between hand on the text of a TLS error, but not always its type.
fn is_tls(status: &Status) -> bool {
    let text = chain(status);
    text.contains("invalid peer certificate") || text.contains("received fatal alert")
}

/// An error and its causes, each once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, message: &str) -> Failure {
        Failure::of(&Error::GRpcStatus(Status::new(code, message)), "http://etcd:2379", Some(LeaseId(7)))
    }

    #[test]
    fn only_what_surely_was_not_done_may_be_made_again() {
        let no_leader = failure(Code::Unavailable, "etcdserver: no leader");
        assert!(matches!(no_leader, Failure::Undone(StoreError::Unavailable(_))));
        for unknown in ["etcdserver: request timed out", "etcdserver: leader changed", "connection reset"] {
            let failure = failure(Code::Unavailable, unknown);
            assert!(matches!(failure, Failure::Unknown(StoreError::Unavailable(_))), "{unknown}");
        }
    }

    #[test]
    fn a_lease_that_ended_is_told_from_a_store_that_is_away() {
        let gone = failure(Code::NotFound, "etcdserver: requested lease not found");
        assert!(matches!(gone, Failure::Answered(StoreError::LeaseEnded(LeaseId(7)))));
        let error = Error::LeaseKeepAliveError("lease not found".into());
        let gone = Failure::of(&error, "http://etcd:2379", Some(LeaseId(7)));
        assert!(matches!(gone, Failure::Answered(StoreError::LeaseEnded(LeaseId(7)))));
        let away = failure(Code::Unavailable, "etcdserver: request timed out");
        assert!(matches!(away, Failure::Unknown(StoreError::Unavailable(_))));
    }

    #[test]
    fn who_is_not_let_in_is_told_what_to_do() {
        let cases = [
            (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (Code::FailedPrecondition, "etcdserver: authentication is not enabled"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
        ];
        for (code, message) in cases {
            let Failure::Answered(error) = failure(code, message) else { panic!("{message}") };
            assert!(!error.could_retry());
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.to_string().contains("http://etcd:2379"), "{error}");
        }
    }

    #[test]
    fn an_old_token_is_renewed() {
        let cases = [
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old"),
        ];
        for (code, message) in cases {
            assert!(matches!(failure(code, message), Failure::StaleToken(_)), "{message}");
            assert!(matches!(of_cancellation(message, "http://etcd:2379"), Failure::StaleToken(_)));
        }
    }
}
