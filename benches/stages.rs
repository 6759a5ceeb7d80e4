//! Counts the instructions that each stage and the whole handler take for a batch of 500 records. benches/COUNTS.md
//! lists the counts and explains how to update them.
//!
//! Only the body of a function is counted. Its input is built before the count starts, and its result is dropped after
//! the count ends. The comment above each `#[bench]` is the bench's description in the table.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "gungraun makes public modules of the benches, whose paths it writes out"
)]

use std::hint::black_box;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use gungraun::Callgrind;
use gungraun::prelude::*;
use instream::event::{Event, UserRecord};
use instream::inference::Requests;
use instream::lambda::response::BatchResponse;
use instream::outcome::Prediction;

mod support;

use support::answers::{Answers, Shape};
use support::batch::{self, Building, Form, Kinesis, Payload};
use support::handling::{self, Handling};
use support::settings::{FEATURES, PACKED, SINGLE};
use support::signing::{Clock, Signing};

#[library_benchmark(setup = batch::payload)]
// reads a well-formed event
#[bench::in_order(Form::Plain)]
// reads an event whose last record is broken, so that each record is read on its own
#[bench::one_broken(Form::OneBroken)]
fn event(payload: Payload) -> Event<'static> {
    batch::read(black_box(payload))
}

#[library_benchmark(setup = batch::kinesis)]
// decodes 500 plain records
#[bench::plain(Form::Plain)]
// decodes 500 records, each compressed with gzip
#[bench::gzipped(Form::Gzipped)]
// de-aggregates 5 Kinesis records of 100 user records each
#[bench::aggregated(Form::Aggregated)]
fn decode(kinesis: Kinesis) -> Vec<UserRecord> {
    kinesis.decode()
}

#[library_benchmark(setup = Building::with)]
// builds 500 requests with one record each
#[bench::single(SINGLE)]
// builds 5 requests with 100 JSON lines each
#[bench::packed(PACKED)]
// builds 5 requests with 100 CSV rows each, from JSON records with FEATURES
#[bench::features(FEATURES)]
fn request(building: Building) -> Requests {
    building.build()
}

#[library_benchmark(setup = Signing::by)]
// signs 500 requests of 200 bytes within one second, with a session token of 1,000 characters
#[bench::one_second(Clock::Stopped)]
// the same, each request in a different second
#[bench::each_its_own(Clock::Running)]
fn signature(signing: Signing) -> Vec<HttpRequest> {
    signing.sign()
}

#[library_benchmark(setup = Answers::of)]
// reads 500 responses with one JSON object each
#[bench::single(Shape::Object)]
// splits 5 responses with 100 JSON lines each
#[bench::lines(Shape::Lines)]
// splits 5 responses `{"predictions":[…]}` with 100 elements each
#[bench::member(Shape::Member)]
fn prediction(answers: Answers) -> Vec<Prediction> {
    answers.read()
}

#[library_benchmark(setup = batch::kinesis)]
// writes the batch response as JSON, with the last record unfinished
#[bench::last_unfinished(Form::Plain)]
fn checkpoint(kinesis: Kinesis) -> String {
    kinesis.batch_response()
}

#[library_benchmark(setup = handling::start)]
// handles an event with one call per record, an endpoint that answers immediately, and OUTPUT=none:
#[bench::single(SINGLE)]
// the same with 100 records per call, as JSON lines
#[bench::packed(PACKED)]
fn handler(handling: &Handling) -> BatchResponse {
    handling.handle()
}

library_benchmark_group!(
    name = stages,
    benchmarks = [event, decode, request, signature, prediction, checkpoint, handler]
);
// The cache simulation is off: COUNTS.md reports instructions only.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = stages
);
