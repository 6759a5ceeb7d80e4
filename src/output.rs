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

/// Nothing of what a destination was handed counts as delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The destination did not take everything.
    #[error("{destination} did not take the records")]
    Refused {
        /// Which one.
        destination: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The deadline came first.
    #[error("the records were not taken before the deadline")]
    OutOfTime,
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
    pub async fn deliver(&self, lines: &[String]) -> Result<(), DeliveryError> {
        match self {
            Self::Stdout(writer) => writer.deliver(lines).await.map_err(|source| DeliveryError::Refused {
                destination: "stdout:",
                source,
            }),
            Self::None => Ok(()),
        }
    }
}
