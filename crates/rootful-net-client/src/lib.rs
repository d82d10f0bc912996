//! What the command line and the OCI hook share as clients of the service: calls and what their failures mean
//! to a person, namespaces, name servers, programs in the way. It runs with the caller's own rights and must
//! not decide what the service decides.

#![forbid(unsafe_code)]

mod again;
mod error;
pub mod message;
pub mod namespace;
pub mod program;
pub mod resolver;
mod service;
pub mod user;

pub use error::{Refusal, ServiceError};
pub use service::Service;
