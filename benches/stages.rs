//! How many instructions each stage takes for a batch of 500 records, and the whole handler. benches/COUNTS.md has the
//! counts, and tells how to take them anew.
//!
//! Counted is a function's body alone: what it takes is made before, what it returns is dropped behind. The comment above
//! each `#[bench]` is what the table says of it.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "gungraun makes public modules of the benches, whose paths it writes out"
)]

use std::hint::black_box;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use gungraun::Callgrind;
use gungraun::prelude::*;
use instream::checkpoint::BatchResponse;
use instream::decode::UserRecord;
use instream::event::Event;
use instream::prediction::Prediction;
use instream::request::Requests;

mod support;

use support::answers::{Answers, Shape};
use support::batch::{self, Building, Form, Kinesis, Payload};
use support::handling::{self, Handling};
use support::settings::{FEATURES, PACKED, SINGLE};
use support::signing::{Clock, Signing};

#[library_benchmark(setup = batch::payload)]
// an event in order is read
#[bench::in_order(Form::Plain)]
// an event is read whose last record is broken: all are read one by one
#[bench::one_broken(Form::OneBroken)]
fn event(payload: Payload) -> Event<'static> {
    batch::read(black_box(payload))
}

#[library_benchmark(setup = batch::kinesis)]
// records as they are
#[bench::plain(Form::Plain)]
// records that are compressed by gzip, each
#[bench::gzipped(Form::Gzipped)]
// 5 Kinesis records of 100 user records each are taken apart
#[bench::aggregated(Form::Aggregated)]
fn decode(kinesis: Kinesis) -> Vec<UserRecord> {
    kinesis.decode()
}

#[library_benchmark(setup = Building::with)]
// 500 requests of a record each
#[bench::single(SINGLE)]
// 5 requests of 100 lines of JSON each
#[bench::packed(PACKED)]
// 5 requests of 100 rows of CSV each, of FEATURES of JSON records
#[bench::features(FEATURES)]
fn request(building: Building) -> Requests {
    building.build()
}

#[library_benchmark(setup = Signing::by)]
// 500 requests of 200 bytes are signed in one second, with a session token of 1,000 characters
#[bench::one_second(Clock::Stands)]
// the same, each in a second of its own
#[bench::each_its_own(Clock::Ticks)]
fn signature(signing: Signing) -> Vec<HttpRequest> {
    signing.sign()
}

#[library_benchmark(setup = Answers::of)]
// 500 answers of a JSON object each
#[bench::single(Shape::Object)]
// 5 answers of 100 lines of JSON each
#[bench::lines(Shape::Lines)]
// 5 answers of `{"predictions":[…]}` with 100 elements each
#[bench::member(Shape::Member)]
fn prediction(answers: Answers) -> Vec<Prediction> {
    answers.read()
}

#[library_benchmark(setup = batch::kinesis)]
// the answer where the last record is unfinished, as JSON
#[bench::last_unfinished(Form::Plain)]
fn checkpoint(kinesis: Kinesis) -> String {
    kinesis.answer()
}

#[library_benchmark(setup = handling::start)]
// an event to its answer, a call a record, over an endpoint that answers at once; OUTPUT=none:
#[bench::single(SINGLE)]
// the same with 100 records a call, as lines of JSON
#[bench::packed(PACKED)]
fn handler(handling: &Handling) -> BatchResponse {
    handling.handle()
}

library_benchmark_group!(
    name = stages,
    benchmarks = [event, decode, request, signature, prediction, checkpoint, handler]
);
// Of the caches, nobody asks.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = stages
);
