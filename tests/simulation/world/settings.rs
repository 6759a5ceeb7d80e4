//! The function's settings.

use std::collections::HashMap;
use std::ops::Range;

use super::dice::Dice;

impl Dice {
    pub(super) fn settings(
        &mut self,
        has_dead_letter: bool,
        has_models: bool,
        records_per_request: usize,
        is_plain: bool,
    ) -> HashMap<&'static str, String> {
        let mut number = |range: Range<u64>| self.0.u64(range);
        let base = number(1..200);
        let numbers = [
            ("RETRY_BASE_MS", base),
            ("RETRY_CAP_MS", base * 4),
            ("MAX_RECORDS_PER_REQUEST", records_per_request as u64),
            ("CAPACITY", number(1..16)),
            ("MAX_ATTEMPTS", number(1..5)),
            ("CALL_TIMEOUT_MS", number(400..2000)),
            ("DEADLINE_RESERVE_MS", number(300..1500)),
        ];
        let mode = self.one_of(&["ordered", "ordered", "unordered"]);
        let memo_bytes = self.one_of(&["16777216", "16777216", "16777216", "2000", "0"]);
        let memo_bytes = if is_plain { "16777216" } else { memo_bytes };
        let needs_memo = mode == "unordered" && memo_bytes == "0";
        let give_up = self.one_of(&["0", "1", "10", "10", "40", ""]);
        let texts = [
            ("ENDPOINT_URL", "https://model.example.com/score"),
            ("ENDPOINT_AUTH", "none"),
            // The destinations under test are opened separately, on the simulated network.
            ("OUTPUT", "none:"),
            ("DEAD_LETTER", if has_dead_letter { "none:" } else { "" }),
            (
                "BATCH_STRATEGY",
                if records_per_request > 1 { "MultiRecord" } else { "" },
            ),
            // Any record of the simulation fits on one line.
            (
                "CONTENT_TYPE",
                if has_models {
                    "text/csv"
                } else {
                    "application/jsonlines"
                },
            ),
            ("TARGET_MODEL", if has_models { "$[1]" } else { "" }),
            ("OUTPUT_MODE", mode),
            ("MEMO_BYTES", if needs_memo { "1000" } else { memo_bytes }),
            ("GIVE_UP_AFTER_S", if has_dead_letter { give_up } else { "" }),
            ("ADAPTIVE_CAPACITY", self.one_of(&["on", "on", "off"])),
        ];
        let numbers = numbers.map(|(name, value)| (name, value.to_string()));
        let texts = texts.map(|(name, value)| (name, value.to_owned()));
        numbers.into_iter().chain(texts).collect()
    }
}
