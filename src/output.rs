//! Where predictions and dead letters go, and the envelope that they go in.
//!
//! The destination is chosen at run time, so this seam is an enum of real destinations.

use std::io;

use crate::config::Destination;

pub mod envelope;
pub mod stdout;

use stdout::Lines;

/// One destination, opened once for the process and shared by concurrent invocations.
#[derive(Debug)]
pub enum Output {
    /// JSON lines to a writer: standard output, or a buffer in a test.
    Stdout(Lines),
    /// Nowhere: the endpoint itself is what matters, or its data capture.
    None,
}

/// The destination did not take everything; nothing of what it was handed counts as delivered.
#[derive(Debug, thiserror::Error)]
#[error("{destination} did not take the records")]
pub struct DeliveryError {
    destination: &'static str,
    #[source]
    source: io::Error,
}

impl Output {
    /// Opens a destination.
    pub fn open(destination: Destination) -> Self {
        match destination {
            Destination::Stdout => Self::Stdout(Lines::new(Box::new(io::stdout()))),
            Destination::None => Self::None,
        }
    }

    /// Delivers `lines`, each one JSON object without a line break, in their order and before it returns.
    ///
    /// # Errors
    ///
    /// [`DeliveryError`] if any of them may not have arrived.
    pub fn deliver(&self, lines: &[String]) -> Result<(), DeliveryError> {
        match self {
            Self::Stdout(writer) => writer.deliver(lines).map_err(|source| DeliveryError {
                destination: "stdout:",
                source,
            }),
            Self::None => Ok(()),
        }
    }
}
