//! Permits: the process has one pool of them, the lowest position gets one first, and every call returns its permit.

use instream::outcome::FaultKind;

use crate::support::{Behavior, Scenario};

#[tokio::test(start_paused = true)]
async fn calls_in_flight_reach_the_capacity_and_never_exceed_it() {
    for capacity in [1, 8, 64] {
        let running = Scenario::of(0).with("CAPACITY", &capacity.to_string()).start();
        let (first, second) = tokio::join!(running.invoke(0..200), running.invoke(200..400));
        assert!(first.is_ok() && second.is_ok());
        let seen = running.seen.lock().unwrap();
        assert_eq!(seen.most_in_flight, capacity);
        assert_eq!(seen.calls.len(), 400);
        assert_eq!(seen.in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lowest_position_goes_first() {
    let ran = Scenario::of(50).with("CAPACITY", "1").run().await;
    let positions: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(ran.seen.calls, positions);
}

#[tokio::test(start_paused = true)]
async fn concurrent_invocations_take_turns() {
    // One invocation has fast calls, the other slow ones. Without turns, the fast one could overtake the slow one each
    // time.
    let mut scenario = Scenario::of(0).with("CAPACITY", "1");
    for number in 100..110 {
        scenario = scenario.record(number, Behavior::PredictAfter(1000));
    }
    let running = scenario.start();
    let (first, second) = tokio::join!(running.invoke(0..10), running.invoke(100..110));
    assert!(first.is_ok() && second.is_ok());
    // The first invocation gets a permit before the second begins to wait. From then on they alternate.
    let mut lead = 0_i32;
    for call in &running.seen.lock().unwrap().calls {
        lead += if call.len() < 3 { 1 } else { -1 };
        assert!((0..=2).contains(&lead), "one invocation waits while the other goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_invocation_keeps_its_turn_when_its_calls_end() {
    let mut scenario = Scenario::of(0).with("CAPACITY", "2");
    for (number, milliseconds) in [(0, 10), (1, 20), (2, 20), (100, 1000), (200, 1000)] {
        scenario = scenario.record(number, Behavior::PredictAfter(milliseconds));
    }
    let running = scenario.start();
    let (first, second, third) = tokio::join!(running.invoke(0..4), running.invoke(100..103), running.invoke(200..203));
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    // When record 2 ends, its invocation waits after the third invocation and before the second. So the next calls are
    // record 200 and then record 3.
    let calls = running.seen.lock().unwrap().calls.clone();
    assert_eq!(calls[..6], ["0", "1", "2", "100", "200", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_returned_however_a_call_ends() {
    for ends in [
        Behavior::PredictAfter(1),
        Behavior::Fail(FaultKind::Refused),
        Behavior::Fail(FaultKind::Overload),
        Behavior::Fail(FaultKind::Misconfigured),
        Behavior::Hang,
        Behavior::Panic,
    ] {
        let scenario = Scenario::of(0).with("CAPACITY", "1").with("MAX_ATTEMPTS", "1");
        let running = scenario.record(0, ends).start();
        running.invoke([0]).await.unwrap();
        running.invoke([1]).await.unwrap();
        assert_eq!(running.seen.lock().unwrap().calls, ["0", "1"], "{ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_invocation_cancels_its_calls_and_returns_its_permits() {
    let running = Scenario::of(0)
        .with("CAPACITY", "2")
        .record(0, Behavior::Hang)
        .record(1, Behavior::Hang)
        .start();
    let invocation = running.invoke([0, 1, 2]);
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(1), invocation)
            .await
            .is_err()
    );
    let response = running.invoke([3, 4]).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.seen.in_flight, 0);
    assert_eq!(ran.seen.most_in_flight, 2);
}
