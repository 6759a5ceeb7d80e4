//! The rule of blame: which failed records are rejected, and which are redelivered.
//!
//! A record that makes every call fail would stop its shard, so it must be rejected. In an outage every call fails as
//! well, and then no record may be rejected. Servers disagree about statuses: a broken model may answer 400 to
//! everything, and a sound one 500, 415 or 503 to a bad record. So a status alone never convicts a record.
//!
//! 1. A call that is Refused is not retried. A Suspect call is retried up to `MAX_ATTEMPTS`, of which a record that may
//!    be given up keeps the last one. Then the request is *accused*. The other requests go on.
//! 2. *Evidence* is an answer to a call for another record that started after the accused request's last call had
//!    ended. The answer must come from the same model, unless the fault may be about the model that the record names.
//! 3. With evidence, a request for several records is split in halves. A single record has its *last attempt*. If that
//!    fails as well, and there is evidence again, the record is rejected. So the endpoint has answered other records
//!    both before and after the call that convicts the record. If little is known about the model, or if it has
//!    lately answered records after the same kind of fault, some of its instances may be broken. Then there are several
//!    last attempts.
//! 4. If no call is left that could provide evidence, the dispatcher sends a *probe*: a request that was answered
//!    before, or the setting `PROBE`. If that fails too, a request for several records is its own probe: it is halved
//!    along one path until a half is answered.
//! 5. Without evidence, nothing is rejected. The records fail and are redelivered.
//!
//! A Suspect record can be given up if it is at least `GIVE_UP_AFTER_S` old and has failed in an earlier delivery, or
//! if `GIVE_UP_AFTER_S` is 0. Until then it fails and is redelivered without being accused. The same holds for a record
//! whose container reports overload while it answers other records.

use std::collections::{BTreeMap, HashSet};

use super::evidence::{Evidence, Moment, Witness};
use crate::outcome::{Fault, FaultKind, Rejection, RejectionKind};

/// A request whose calls have failed, and whose records may be the cause.
#[derive(Debug)]
pub(super) struct Accused {
    pub(super) fault: Fault,
    /// The end of its last call. For a part of an accused request, the end of that request's last call.
    pub(super) since: Moment,
    pub(super) witness: Witness,
}

/// The accused requests of one invocation, each at the index of its first record.
#[derive(Debug, Default)]
pub(super) struct Blame {
    pub(super) accused: BTreeMap<usize, Accused>,
    /// The witnesses that were probed, and got no evidence since.
    pub(super) probed: HashSet<Witness>,
    /// The witnesses for which a request of the batch served as a probe, and that got no evidence since.
    pub(super) searched: HashSet<Witness>,
}

impl Blame {
    /// Removes and returns the accused requests for which there is evidence now, the lowest index first.
    pub(super) fn take_with_evidence(&mut self, evidence: &Evidence) -> Vec<(usize, Accused)> {
        let taken = self.take_if(|_, accused| evidence.has_answered_since(accused.since, &accused.witness));
        for (_, accused) in &taken {
            self.allow_probes(&accused.witness);
        }
        taken
    }

    /// Removes and returns these accused requests, the lowest index first.
    pub(super) fn take_if(&mut self, is_wanted: impl Fn(usize, &Accused) -> bool) -> Vec<(usize, Accused)> {
        self.accused
            .extract_if(.., |index, accused| is_wanted(*index, accused))
            .collect()
    }

    /// Allows further probes for this witness, because it has provided evidence.
    pub(super) fn allow_probes(&mut self, witness: &Witness) {
        // Most answers come without a probe before them, and hashing costs more than the rest of this.
        if self.probed.is_empty() && self.searched.is_empty() {
            return;
        }
        self.probed.remove(witness);
        self.searched.remove(witness);
    }

    /// Returns the witnesses of all accused requests, each once, in the order of the requests.
    pub(super) fn witnesses(&self) -> Vec<Witness> {
        let mut witnesses = Vec::new();
        for accused in self.accused.values() {
            if !witnesses.contains(&accused.witness) {
                witnesses.push(accused.witness.clone());
            }
        }
        witnesses
    }

    /// Returns the accused requests with this witness.
    pub(super) fn of(&self, witness: &Witness) -> impl Iterator<Item = (usize, &Accused)> {
        let accused = self
            .accused
            .iter()
            .filter(move |(_, accused)| accused.witness == *witness);
        accused.map(|(index, accused)| (*index, accused))
    }
}

impl Accused {
    /// Returns the reason for the dead letter of the record.
    pub(super) fn rejection(&self) -> Rejection {
        let details = self.fault.describe();
        match self.fault.kind {
            FaultKind::Refused => Rejection {
                kind: RejectionKind::Refused,
                message: details,
            },
            FaultKind::Suspect | FaultKind::Overload | FaultKind::Unreachable | FaultKind::Misconfigured => Rejection {
                kind: RejectionKind::GivenUp,
                message: format!(
                    "the record keeps failing and is older than GIVE_UP_AFTER_S, and the endpoint answers other \
                     records: {details}"
                ),
            },
        }
    }
}
