//! Reads single variables, and checks values of variables that depend on each other.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::is_stdout_dropped;
use super::variables::{
    ALERT, ALERT_PATTERN, BUFFER_BYTES, DEAD_LETTER, DEADLINE_RESERVE_MS, GIVE_UP_AFTER_S, INVOCATION_BUDGET_MS,
    MAX_ATTEMPTS, MEMO_BYTES, OUTPUT, OUTPUT_MODE, PROBE, RETRY_BASE_MS, RETRY_CAP_MS, Variable,
};
use crate::delivery::{DestinationSetting, OutputMode};
use crate::dispatch::retry::{Backoff, RetryPolicy};
use crate::format::pattern::EventPattern;
use crate::inference::{InferenceRequest, RequestSpec};
use crate::lambda::time_budget::TimeBudget;

/// The maximum length of a wrong value in an error, in characters.
const VALUE_SHOWN: usize = 100;

/// Reads variables one by one and collects all faults, so that the user can fix them in one go.
pub(super) struct Reader<L> {
    pub(super) lookup: L,
    pub(super) faults: Vec<String>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// Returns the value of the variable or its default. Adds a fault if there is neither.
    pub(super) fn required<T>(&mut self, variable: Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let Some(value) = self.value(variable) else {
            let parsed = variable.default.and_then(parse);
            if parsed.is_none() {
                let default = variable.default.map(|value| format!(" and its default is {value}"));
                let default = default.unwrap_or_default();
                self.faults.push(format!(
                    "{} is not set{default}; allowed: {}",
                    variable.name, variable.allowed
                ));
            }
            return parsed;
        };
        self.parse(variable, &value, parse)
    }

    /// Returns the value of the variable, or `None` if it is not set.
    pub(super) fn optional<T>(&mut self, variable: Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.value(variable)?;
        self.parse(variable, &value, parse)
    }

    /// Does the same as [`optional`](Self::optional) for a value that no log may show, even if it is wrong.
    pub(super) fn optional_secret<T>(&mut self, variable: Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(&self.value(variable)?);
        if parsed.is_none() {
            let Variable { name, allowed, .. } = variable;
            self.faults.push(format!(
                "{name} has an invalid value, not shown here; allowed: {allowed}"
            ));
        }
        parsed
    }

    pub(super) fn retry(&mut self) -> Option<RetryPolicy> {
        let max_attempts = self.required(MAX_ATTEMPTS, |value| parse_whole_number(value, 1..=10));
        let base = self.required(RETRY_BASE_MS, |value| parse_whole_number(value, 1..=60_000));
        let cap = self.required(RETRY_CAP_MS, |value| {
            parse_whole_number(value, base.unwrap_or(1)..=60_000)
        });
        Some(RetryPolicy {
            max_attempts: max_attempts?,
            backoff: Backoff {
                base: Duration::from_millis(base?),
                cap: Duration::from_millis(cap?),
            },
        })
    }

    pub(super) fn time_budget(&mut self) -> Option<TimeBudget> {
        let reserve = self.required(DEADLINE_RESERVE_MS, |value| parse_whole_number(value, 300..=60_000));
        let min_total = reserve.unwrap_or_default() + 1;
        let fallback_total = self.required(INVOCATION_BUDGET_MS, |value| {
            parse_whole_number(value, min_total..=900_000)
        });
        Some(TimeBudget {
            reserve: Duration::from_millis(reserve?),
            fallback_total: Duration::from_millis(fallback_total?),
        })
    }

    /// Adds a fault if Lambda would drop the lines on standard output.
    fn check_log_level(&mut self, variable: Variable, destination: Option<&DestinationSetting>) {
        if destination == Some(&DestinationSetting::Stdout) && is_stdout_dropped(&self.lookup) {
            self.faults.push(format!(
                "{}=\"stdout:\" with AWS_LAMBDA_LOG_FORMAT=JSON and AWS_LAMBDA_LOG_LEVEL above INFO, so Lambda would \
                 drop its lines; allowed: a level of INFO or below, or {}",
                variable.name, variable.allowed
            ));
        }
    }

    /// Adds the faults of a destination.
    fn check_destination(&mut self, variable: Variable, destination: Option<&DestinationSetting>) {
        self.check_is_built(variable, destination);
        self.check_log_level(variable, destination);
    }

    /// Reads OUTPUT and `DEAD_LETTER`.
    pub(super) fn destinations(&mut self) -> (Option<DestinationSetting>, Option<DestinationSetting>) {
        let output = self.required(OUTPUT, DestinationSetting::parse);
        let dead_letter = self.optional(DEAD_LETTER, DestinationSetting::parse);
        self.check_destination(OUTPUT, output.as_ref());
        self.check_destination(DEAD_LETTER, dead_letter.as_ref());
        (output, dead_letter)
    }

    /// Reads ALERT and `ALERT_PATTERN`. Adds a fault if only one of them is set.
    pub(super) fn alert(&mut self) -> Option<(DestinationSetting, EventPattern)> {
        let destination = self.optional(ALERT, DestinationSetting::parse);
        self.check_destination(ALERT, destination.as_ref());
        let pattern = self.pattern(ALERT_PATTERN);
        let is_set = |variable: Variable| (self.lookup)(variable.name).is_some_and(|value| !value.is_empty());
        if is_set(ALERT) != is_set(ALERT_PATTERN) {
            self.faults.push(format!(
                "{} and {} belong together; allowed: both or none of them",
                ALERT.name, ALERT_PATTERN.name
            ));
        }
        destination.zip(pattern)
    }

    /// Reads an event pattern. Adds a fault that names the wrong part of it.
    pub(super) fn pattern(&mut self, variable: Variable) -> Option<EventPattern> {
        self.explained(variable, str::parse)
    }

    /// Reads a value that may not be set. Adds a fault with the error if it is wrong.
    pub(super) fn explained<T, E: Display>(
        &mut self,
        variable: Variable,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&self.value(variable)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults
                    .push(format!("{}: {error}; allowed: {}", variable.name, variable.allowed));
                None
            }
        }
    }

    /// Adds a fault if this build leaves out the destination. Each AWS destination is a cargo feature.
    fn check_is_built(&mut self, variable: Variable, destination: Option<&DestinationSetting>) {
        if let Some(feature) = destination.and_then(DestinationSetting::missing_feature) {
            self.faults.push(format!(
                "{} is a destination that this build of the function leaves out; build it with the feature {feature}",
                variable.name
            ));
        }
    }

    /// Adds a fault for unordered output without a memo. Records after an unfinished record are delivered at once and
    /// redelivered later. Without the memo, each redelivery would deliver them to the destination again.
    fn check_memo(&mut self, output_mode: Option<OutputMode>, memo_bytes: Option<usize>) {
        if output_mode == Some(OutputMode::Unordered) && memo_bytes == Some(0) {
            self.faults.push(format!(
                "{}=\"unordered\" with {}=\"0\", so that records would be delivered repeatedly; allowed: ordered, or a \
                 larger memo",
                OUTPUT_MODE.name, MEMO_BYTES.name
            ));
        }
    }

    /// Reads `BUFFER_BYTES` and `MEMO_BYTES`.
    pub(super) fn memory(&mut self, output_mode: Option<OutputMode>) -> (Option<usize>, Option<usize>) {
        let buffer_bytes = self.buffer_bytes();
        let memo_bytes = self.memo_bytes(buffer_bytes);
        self.check_memo(output_mode, memo_bytes);
        (buffer_bytes, memo_bytes)
    }

    /// Reads `BUFFER_BYTES`. By default, it is a quarter of the function's memory: delivery and allocation take about
    /// as much again, and the event, its records and their requests take the rest.
    fn buffer_bytes(&mut self) -> Option<usize> {
        const MIN: usize = 32 * 1024 * 1024;
        const MAX: usize = 8 * 1024 * 1024 * 1024;
        const FUNCTION_MIB: usize = 512;
        if let Some(value) = self.value(BUFFER_BYTES) {
            return self.parse(BUFFER_BYTES, &value, |value| parse_whole_number(value, MIN..=MAX));
        }
        let memory = (self.lookup)("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|value| value.parse().ok());
        let quarter = memory.unwrap_or(FUNCTION_MIB).saturating_mul(1024 * 1024) / 4;
        Some(quarter.clamp(MIN, MAX))
    }

    /// Reads `MEMO_BYTES`. The memo takes at most half of the buffer that the largest answer leaves, so that calls go
    /// on while the memo is full. Its default is reduced to this maximum.
    fn memo_bytes(&mut self, buffer_bytes: Option<usize>) -> Option<usize> {
        const ANSWER_BYTES_MAX: usize = 25 * 1024 * 1024;
        const DEFAULT: usize = 16 * 1024 * 1024;
        let max = (buffer_bytes? - ANSWER_BYTES_MAX) / 2;
        match self.value(MEMO_BYTES) {
            Some(value) => self.parse(MEMO_BYTES, &value, |value| parse_whole_number(value, 0..=max)),
            None => Some(DEFAULT.min(max)),
        }
    }

    /// Reads `GIVE_UP_AFTER_S`. Returns `None` without a destination for dead letters: then records are never given up.
    /// Adds a fault if it is set without such a destination.
    pub(super) fn give_up_after(&mut self, dead_letter: Option<&DestinationSetting>) -> Option<Duration> {
        let seconds = self.required(GIVE_UP_AFTER_S, |value| parse_whole_number(value, 0..=604_800));
        if let (Some(seconds), None) = (self.value(GIVE_UP_AFTER_S), dead_letter) {
            self.faults.push(format!(
                "{}={seconds:?} without {}, where records that are given up would go; allowed: both or neither",
                GIVE_UP_AFTER_S.name, DEAD_LETTER.name
            ));
        }
        seconds.map(Duration::from_secs).filter(|_| dead_letter.is_some())
    }

    /// Reads the record of `PROBE` as a request of this form. The error does not show the record, which may be a real
    /// one.
    pub(super) fn probe(&mut self, requests: Option<&RequestSpec>) -> Option<InferenceRequest> {
        let record = self.value(PROBE)?;
        match requests?.probe(&record) {
            Ok(request) => Some(request),
            Err(rejection) => {
                self.faults.push(format!(
                    "{} has an invalid value, not shown here: no request can be made of it ({:?}); allowed: {}",
                    PROBE.name, rejection.kind, PROBE.allowed
                ));
                None
            }
        }
    }

    pub(super) fn value(&self, variable: Variable) -> Option<String> {
        (self.lookup)(variable.name).filter(|value| !value.is_empty())
    }

    fn parse<T>(&mut self, variable: Variable, value: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(value);
        if parsed.is_none() {
            let shown: String = value.chars().take(VALUE_SHOWN).collect();
            self.faults
                .push(format!("{}={shown:?}; allowed: {}", variable.name, variable.allowed));
        }
        parsed
    }
}

/// Parses a whole number in `range`.
pub(super) fn parse_whole_number<T: FromStr + PartialOrd>(value: &str, range: RangeInclusive<T>) -> Option<T> {
    value.parse().ok().filter(|number| range.contains(number))
}
