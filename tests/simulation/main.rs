//! Sends many streams through the function, each drawn from a seed. The endpoint fails, hangs and goes down, some of
//! its instances or models are broken, records are poison, credentials are missing, destinations refuse entries, and
//! environments are frozen and killed. In every run, no record may be lost, no healthy record may be rejected, no
//! poison record may stop its shard, and no record may be called or delivered twice without a cause.
//!
//! The function is the real one, except for its process and its network. The mapping is that of `cargo local`.
//! Everything runs on a paused clock and on one thread, so that a seed always gives the same run.
//!
//! ```sh
//! SEEDS=10000 cargo test --test simulation -- --nocapture              # more seeds, about 20 minutes
//! SEED=4711 cargo test --test simulation -- --nocapture                # one seed, printed in full
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

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Arc;

use oracle::{Counts, RunResult};
use setting::setting;
use world::World;

/// The number of seeds to run if `SEEDS` is not set. A developer can wait for this many.
const SEEDS: u64 = 250;

/// Runs the stream of one seed from the first record to the last, and checks the result.
///
/// # Panics
///
/// If a check fails.
fn run(seed: u64) -> RunResult {
    logs::watch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    fastrand::seed(seed);
    let world = Arc::new(World::draw(seed));
    runtime.unwrap().block_on(async {
        let mut result = lambda::run(&world).await;
        oracle::check(&world, &mut result);
        result
    })
}

/// Planned panics are not printed: thousands of them would hide an unexpected one.
fn silence_planned_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(endpoint::PLANNED_PANIC) {
            usual(panic);
        }
    }));
}

#[test]
fn no_record_is_lost_or_repeated_without_a_cause() {
    if let Some(seed) = setting("SEED") {
        println!("{:#?}", World::draw(seed));
        println!("{:#?}", run(seed));
        return;
    }
    silence_planned_panics();
    let (mut all, mut failed) = (Counts::default(), Vec::<u64>::new());
    let mut runs_with = BTreeMap::<_, u64>::new();
    let seeds = setting("SEEDS").unwrap_or(SEEDS);
    let first = setting("FIRST_SEED").unwrap_or_default();
    for seed in first..first + seeds {
        let ingredients = World::draw(seed).ingredients();
        if let Ok(result) = catch_unwind(|| run(seed)) {
            all.add(&result.counts);
        } else {
            println!("SEED={seed} cargo test --test simulation -- --nocapture    # fails with: {ingredients:?}");
            failed.push(seed);
        }
        for ingredient in ingredients {
            *runs_with.entry(ingredient).or_default() += 1;
        }
    }
    println!("{seeds} seeds: {all}");
    println!("runs with: {runs_with:?}");
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
    // The simulation proves something only if each kind of event has happened.
    if seeds >= SEEDS {
        all.assert_every_kind_happened();
        all.assert_few_are_unlucky();
        assert_eq!(runs_with.len(), world::INGREDIENTS, "an ingredient is in no run");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second, "SEED={seed}");
    }
}
