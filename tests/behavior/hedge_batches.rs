//! HEDGE: the duration of batches. All calls take 10 ms, and some first calls take 500 ms more.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Behavior, Scenario};

/// The records before the batches, whose calls give enough latencies to recognize a slow call.
const SAMPLES: usize = 200;

struct Batches {
    hedge: &'static str,
    count: u32,
    capacity: usize,
    records: usize,
    slow_percent: u8,
}

#[derive(Debug, PartialEq)]
struct Ran {
    mean: Duration,
    p95: Duration,
    calls: usize,
}

impl Batches {
    async fn run(self) -> Ran {
        fastrand::seed(7);
        let first_record = |batch: u32| SAMPLES + batch as usize * self.records;
        let capacity = self.capacity.to_string();
        let mut scenario = Scenario::of(0).with("CAPACITY", &capacity).with("HEDGE", self.hedge);
        for number in first_record(0)..first_record(self.count) {
            if fastrand::u8(..100) < self.slow_percent {
                scenario = scenario.attempts(number, &[Behavior::PredictAfter(510)]);
            }
        }
        let running = scenario.start();
        running.invoke(0..SAMPLES).await.unwrap();
        let (mut times, mut calls) = (Vec::new(), 0);
        for batch in 0..self.count {
            running.seen.lock().unwrap().calls.clear();
            let started = Instant::now();
            running
                .invoke(first_record(batch)..first_record(batch + 1))
                .await
                .unwrap();
            times.push(started.elapsed());
            let seen = running.seen.lock().unwrap();
            assert!(seen.most_in_flight <= self.capacity);
            calls += seen.calls.len();
        }
        times.sort_unstable();
        let total: Duration = times.iter().sum();
        Ran {
            mean: total / self.count,
            p95: times[(times.len() * 95).div_ceil(100) - 1],
            calls,
        }
    }
}

fn batches(hedge: &'static str, capacity: usize, records: usize, slow_percent: u8) -> Batches {
    Batches {
        hedge,
        count: 20,
        capacity,
        records,
        slow_percent,
    }
}

#[tokio::test(start_paused = true)]
async fn large_batches_with_slow_calls_have_85_percent_of_the_speed_without_slow_calls() {
    let without_slow = batches("off", 100, 1000, 0).run().await;
    let with_slow = batches("p95", 100, 1000, 1).run().await;
    assert!(
        without_slow.mean >= with_slow.mean.mul_f64(0.85),
        "{without_slow:?}, {with_slow:?}"
    );
    assert!(with_slow.calls * 100 <= without_slow.calls * 103, "{with_slow:?}");
}

#[tokio::test(start_paused = true)]
async fn without_slow_calls_hedge_changes_nothing() {
    for (capacity, records) in [(128, 100), (100, 1000)] {
        let [off, on] = ["off", "p95"].map(|hedge| batches(hedge, capacity, records, 0));
        assert_eq!(on.run().await, off.run().await);
    }
}

/// Before the percentile of the latencies has risen, only the budget limits the hedged calls.
#[tokio::test(start_paused = true)]
async fn if_many_calls_of_a_large_batch_become_slow_at_most_one_call_in_twenty_is_hedged() {
    let one = Batches {
        count: 1,
        ..batches("p95", 100, 1000, 30)
    };
    let hedged = one.run().await.calls - 1000;
    let budget = (SAMPLES + 1000) / 20;
    assert!((SAMPLES / 20..=budget).contains(&hedged), "{hedged}");
}

#[tokio::test(start_paused = true)]
async fn a_small_batch_takes_25_ms_with_a_slow_call() {
    let ran = batches("p95", 128, 100, 1).run().await;
    // A call is slow after 15 ms, and its hedged call takes 10 ms.
    assert_eq!(ran.p95, Duration::from_millis(25));
}
