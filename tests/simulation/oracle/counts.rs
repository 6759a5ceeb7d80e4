//! The number of events of each kind, in one run or in all.

use std::fmt;

/// The number of events of each kind.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) predicted: u64,
    pub(crate) refused: u64,
    pub(crate) given_up: u64,
    /// Healthy records that were dead-lettered because each of their calls happened to fail.
    pub(crate) unlucky: u64,
    /// Healthy records in runs in which calls fail at random.
    pub(crate) exposed: u64,
    /// Predicted records that were dead-lettered because OUTPUT refused their predictions.
    pub(crate) refused_by_output: u64,
    pub(crate) discarded: u64,
    pub(crate) repeated: u64,
    pub(crate) repeated_unordered: u64,
    pub(crate) calls: u64,
    pub(crate) endpoint_faults: u64,
    /// Failed calls of which the record may be the cause.
    pub(crate) doubtful_faults: u64,
    pub(crate) output_faults: u64,
    pub(crate) kills: u64,
    pub(crate) redelivered: u64,
    /// Redelivered records for which the environment had already received an answer.
    pub(crate) answered_before: u64,
    /// Calls for records for which the environment had already received an answer.
    pub(crate) repeated_calls: u64,
    /// Runs in which only poison records make calls fail, and in which there is time for all of them.
    pub(crate) quiet_runs: u64,
    /// Simulated time.
    pub(crate) seconds: u64,

    // These counts must be zero.
    pub(crate) calls_while_frozen: u64,
    pub(crate) requests_while_frozen: u64,
    pub(crate) left_in_flight: u64,
    pub(crate) late_responses: u64,
    pub(crate) over_capacity: u64,
    pub(crate) too_many_attempts: u64,
}

impl Counts {
    fn all_mut(&mut self) -> [&mut u64; 26] {
        [
            &mut self.records,
            &mut self.predicted,
            &mut self.refused,
            &mut self.given_up,
            &mut self.unlucky,
            &mut self.exposed,
            &mut self.refused_by_output,
            &mut self.discarded,
            &mut self.repeated,
            &mut self.repeated_unordered,
            &mut self.calls,
            &mut self.endpoint_faults,
            &mut self.doubtful_faults,
            &mut self.output_faults,
            &mut self.kills,
            &mut self.redelivered,
            &mut self.answered_before,
            &mut self.repeated_calls,
            &mut self.quiet_runs,
            &mut self.seconds,
            &mut self.calls_while_frozen,
            &mut self.requests_while_frozen,
            &mut self.left_in_flight,
            &mut self.late_responses,
            &mut self.over_capacity,
            &mut self.too_many_attempts,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (mine, its) in self.all_mut().into_iter().zip(other.all_mut()) {
            *mine += *its;
        }
    }

    /// A healthy record whose calls all met a broken instance looks like a poison record. There are few of them.
    pub(crate) fn assert_few_are_unlucky(&self) {
        const EXPOSED_PER_UNLUCKY: u64 = 50;
        assert!(
            self.unlucky * EXPOSED_PER_UNLUCKY <= self.exposed,
            "too many healthy records are dead-lettered"
        );
    }

    pub(crate) fn assert_every_kind_happened(&mut self) {
        for (index, count) in self.all_mut().into_iter().take(20).enumerate() {
            assert!(*count > 0, "count {index} is zero in all runs");
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            predicted,
            refused,
            given_up,
            refused_by_output,
            unlucky,
            exposed,
            discarded,
            repeated,
            repeated_unordered,
            ..
        } = self;
        let Self {
            calls,
            endpoint_faults,
            output_faults,
            kills,
            redelivered,
            quiet_runs,
            ..
        } = self;
        let saved = self.answered_before.saturating_sub(self.repeated_calls);
        let hours = self.seconds / 3600;
        let in_order = repeated - repeated_unordered;
        write!(
            f,
            "{records} records in {hours} simulated hours: {predicted} predictions, {refused} refused, {given_up} given \
             up, {refused_by_output} refused by OUTPUT ({unlucky} of {exposed} healthy records that met broken instances), {discarded} discarded by the \
             mapping, none lost; delivered twice: {in_order} in ordered mode, {repeated_unordered} in unordered mode. {endpoint_faults} endpoint faults in {calls} calls, \
             {output_faults} destination faults, {kills} kills; {redelivered} records redelivered, {saved} calls \
             saved by the memo; {quiet_runs} quiet runs"
        )
    }
}
