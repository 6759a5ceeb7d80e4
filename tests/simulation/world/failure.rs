//! The ways in which a call fails.

use super::dice::Dice;

/// The way in which a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// The model's container answers with this status.
    Status(u16),
    /// The service throttles the call.
    Throttled,
    /// The service has not loaded the model yet.
    NotReady,
    /// The service reports a failure of its own.
    ServiceFault,
    /// The service denies access.
    Denied,
    /// The service does not know the model that the record names.
    NoSuchModel,
    /// The connection is refused.
    NoConnection,
    /// The connection is reset after the request was sent.
    Reset,
    Hang,
    Panic,
}

/// The statuses with which a container refuses a record.
const REFUSALS: [u16; 7] = [400, 404, 406, 409, 413, 415, 422];

impl Failure {
    /// Returns true if the record may be the cause: a record can be poison in this way.
    pub(crate) fn may_be_poison(self) -> bool {
        match self {
            Self::Status(_) | Self::NoSuchModel | Self::Reset | Self::Hang | Self::Panic => true,
            Self::Throttled | Self::NotReady | Self::ServiceFault | Self::Denied | Self::NoConnection => false,
        }
    }

    /// Returns true if no retry can succeed.
    pub(crate) fn is_refusal(self) -> bool {
        match self {
            Self::Status(status) => REFUSALS.contains(&status),
            Self::NoSuchModel => true,
            Self::Throttled
            | Self::NotReady
            | Self::ServiceFault
            | Self::Denied
            | Self::NoConnection
            | Self::Reset
            | Self::Hang
            | Self::Panic => false,
        }
    }
}

impl Dice {
    fn refusal(&mut self) -> Failure {
        Failure::Status(self.one_of(&REFUSALS))
    }

    /// Returns a failure that a poison record causes in every call.
    pub(super) fn poison(&mut self) -> Failure {
        let refusal = self.refusal();
        let other = self.one_of(&[
            Failure::Status(500),
            Failure::Status(503),
            Failure::Status(429),
            Failure::Hang,
            Failure::Reset,
            Failure::Panic,
        ]);
        if self.chance(0.5) { refusal } else { other }
    }

    /// Returns a failure of a few calls for one record.
    pub(super) fn hiccup(&mut self) -> Failure {
        let poison = self.poison();
        self.one_of(&[
            poison,
            Failure::Throttled,
            Failure::ServiceFault,
            Failure::NoConnection,
            Failure::Hang,
        ])
    }

    /// Returns a failure of all calls during an outage.
    pub(super) fn outage(&mut self) -> Failure {
        let refusal = self.refusal();
        self.one_of(&[
            refusal,
            refusal,
            refusal,
            Failure::Status(500),
            Failure::Status(503),
            Failure::Status(429),
            Failure::Throttled,
            Failure::ServiceFault,
            Failure::Denied,
            Failure::NoConnection,
            Failure::Reset,
            Failure::Hang,
        ])
    }

    /// Returns a failure of all calls for one model while the others work. A 404 is not among them: it means that the
    /// model does not exist, which is the fault of the records that name it.
    pub(super) fn model_outage(&mut self) -> Failure {
        self.one_of(&[
            Failure::NotReady,
            Failure::NotReady,
            Failure::Status(400),
            Failure::Status(415),
            Failure::Status(500),
            Failure::Status(503),
            Failure::Hang,
        ])
    }

    /// Returns a failure of a broken instance.
    pub(super) fn broken_instance(&mut self) -> Failure {
        self.one_of(&[
            Failure::Status(500),
            Failure::Status(400),
            Failure::Status(503),
            Failure::Hang,
        ])
    }
}
