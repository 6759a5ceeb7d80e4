//! Settings of a test run, read from environment variables.

#[expect(clippy::disallowed_methods, reason = "a test has no other place for its settings")]
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value:?} is not a number"))
    })
}
