//! A general xDS management server and client.
