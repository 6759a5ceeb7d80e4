//! Thousands of streams through the function, each drawn from a seed: the endpoint fails, hangs and goes down,
//! destinations refuse, time runs out, environments are killed. Whatever happens, no record may be lost, and none may be
//! called or delivered twice without a cause.
//!
//! The function is the real one but for its process and its network; the mapping is that of `cargo local`. All of it runs
//! on a paused clock and on one thread, so that a seed brings the same run each time.
//!
//! ```sh
//! SEEDS=10000 cargo test --test simulation -- --nocapture              # more, some fifteen minutes
//! SEED=4711 cargo test --test simulation -- --nocapture                # the run of one seed, told in full
//! ```

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../behavior/cloud.rs"]
#[allow(dead_code, reason = "the tests of behavior use other parts of it")]
mod cloud;
#[path = "../support/logs.rs"]
mod logs;

mod endpoint;
mod lambda;
mod oracle;
mod setting;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use oracle::Told;
use setting::setting;
use world::World;

/// How many seeds are run where `SEEDS` does not say: so many as a developer has patience for.
const SEEDS: u64 = 300;

/// The run of one seed, from the first record to the last.
///
/// # Panics
///
/// If anything is not as it must be.
fn run(seed: u64) -> Told {
    logs::watch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    fastrand::seed(seed);
    let world = Arc::new(World::draw(seed));
    runtime.unwrap().block_on(async {
        let mut told = lambda::run(&world).await;
        oracle::check(&world, &mut told);
        told
    })
}

/// Thousands of them would hide the one that matters.
fn say_nothing_of_panics_that_the_seed_asks_for() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(endpoint::PANIC) {
            usual(panic);
        }
    }));
}

#[test]
fn no_record_is_lost_and_none_comes_twice_without_a_cause() {
    if let Some(seed) = setting("SEED") {
        println!("{:#?}", World::draw(seed));
        println!("{:#?}", run(seed));
        return;
    }
    say_nothing_of_panics_that_the_seed_asks_for();
    let mut all = Told::default();
    let seeds = setting("SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        let told = catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
            println!("\nSEED={seed} cargo test --test simulation -- --nocapture    # repeats the run that failed\n");
            resume_unwind(panic)
        });
        all.add(&told);
    }
    println!("{seeds} seeds: {}", all.counts);
    // A simulation in which nothing happens proves nothing.
    if seeds >= SEEDS {
        all.counts.assert_that_everything_happened();
    }
}

#[test]
fn a_seed_brings_the_same_run_each_time() {
    for seed in 0..20 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second, "SEED={seed}");
    }
}
