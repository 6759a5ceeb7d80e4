//! Permits: one count for the process, the lowest position first, given back however a call ends.

use instream::endpoint::FaultKind;

use crate::support::{Does, Scenario};

#[tokio::test(start_paused = true)]
async fn calls_in_flight_reach_the_capacity_and_never_pass_it() {
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
    // One with fast calls, one with slow: the fast one must not slip in each time that the slow one has had its turn.
    let mut scenario = Scenario::of(0).with("CAPACITY", "1");
    for number in 100..110 {
        scenario = scenario.record(number, Does::PredictAfter(1000));
    }
    let running = scenario.start();
    let (first, second) = tokio::join!(running.invoke(0..10), running.invoke(100..110));
    assert!(first.is_ok() && second.is_ok());
    // The first has a turn before the second begins to wait; from there on they alternate.
    let mut lead = 0_i32;
    for call in &running.seen.lock().unwrap().calls {
        lead += if call.len() < 3 { 1 } else { -1 };
        assert!((0..=2).contains(&lead), "one invocation waits while the other goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_waits_keeps_its_place_when_its_calls_end() {
    let mut scenario = Scenario::of(0).with("CAPACITY", "2");
    for (number, milliseconds) in [(0, 10), (1, 20), (2, 20), (100, 1000), (200, 1000)] {
        scenario = scenario.record(number, Does::PredictAfter(milliseconds));
    }
    let running = scenario.start();
    let (first, second, third) = tokio::join!(running.invoke(0..4), running.invoke(100..103), running.invoke(200..203));
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    // When record 2 ends, its invocation waits behind the third and before the second: record 3 is the next but one.
    let calls = running.seen.lock().unwrap().calls.clone();
    assert_eq!(calls[..6], ["0", "1", "2", "100", "200", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_permit_comes_back_however_a_call_ends() {
    for ends in [
        Does::PredictAfter(1),
        Does::Fail(FaultKind::Refused),
        Does::Fail(FaultKind::Overload),
        Does::Fail(FaultKind::Misconfigured),
        Does::Hang,
        Does::Panic,
    ] {
        let scenario = Scenario::of(0).with("CAPACITY", "1").with("MAX_ATTEMPTS", "1");
        let running = scenario.record(0, ends).start();
        running.invoke([0]).await.unwrap();
        running.invoke([1]).await.unwrap();
        assert_eq!(running.seen.lock().unwrap().calls, ["0", "1"], "{ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_is_dropped_leaves_no_call_and_no_permit_behind() {
    let running = Scenario::of(0)
        .with("CAPACITY", "2")
        .record(0, Does::Hang)
        .record(1, Does::Hang)
        .start();
    let invocation = running.invoke([0, 1, 2]);
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(1), invocation)
            .await
            .is_err()
    );
    let answer = running.invoke([3, 4]).await.unwrap();
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.seen.in_flight, 0);
    assert_eq!(ran.seen.most_in_flight, 2);
}
