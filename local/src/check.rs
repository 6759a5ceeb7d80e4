//! The trials of [`check_command`](crate::check_command): which requests are tried, what is seen, and what follows.

mod compare;
mod observe;
mod report;
mod shapes;
mod verdict;

pub use compare::{are_same, score_path};
pub use observe::{Observation, RecordResult, Runner};
pub use report::Report;
pub use shapes::{Shape, broken_record, shapes};
pub use verdict::{Row, Verdict};
