//! What the operating system knows of a process: its CPU time and its memory. Where it does not tell, neither do we.

use std::fs;
use std::time::Duration;

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What is resident now.
    pub resident_kib: u64,
    /// The most that was resident at once so far.
    pub peak_kib: u64,
}

/// The CPU time of a process so far, in user mode and in the kernel, of all its threads.
///
/// It is the process's CPU-time clock, in nanoseconds. `/proc/PID/stat` counts in ticks of 10 ms, as much as a whole
/// start takes; the sum of `/proc/PID/task/*/schedstat` forgets threads that have ended, as those of Tokio's that look
/// up names do.
#[cfg(target_os = "linux")]
pub fn cpu_time(process: u32) -> Option<Duration> {
    use nix::time::ClockId;
    use nix::unistd::Pid;

    let process = Pid::from_raw(i32::try_from(process).ok()?);
    let now = ClockId::pid_cpu_clock_id(process).and_then(ClockId::now);
    now.ok().map(Duration::from)
}

/// The CPU time of a process so far: not known here.
#[cfg(not(target_os = "linux"))]
pub fn cpu_time(_process: u32) -> Option<Duration> {
    None
}

/// The memory of a process; `None` where there is no `/proc`, or no such process.
pub fn memory(process: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    Some(Memory {
        resident_kib: kib(&status, "VmRSS:")?,
        peak_kib: kib(&status, "VmHWM:")?,
    })
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::thread;

    use super::*;

    /// CPU time of this process as the kernel counts it in ticks of 10 ms: `utime` and `stime`, fields 14 and 15, of
    /// which the second, the name in parentheses, may hold spaces.
    fn ticks() -> Duration {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    #[test]
    fn cpu_time_is_the_kernels_and_counts_threads_that_have_ended() {
        // Two ticks of each reading may be missing or too many.
        const NEARLY: Duration = Duration::from_millis(40);
        let work = || {
            let end = ticks() + Duration::from_millis(100);
            while ticks() < end {}
        };
        thread::spawn(work).join().unwrap();
        let (before, now, after) = (ticks(), cpu_time(std::process::id()).unwrap(), ticks());
        let is_between = now + NEARLY >= before && now <= after + NEARLY;
        assert!(is_between, "{now:?}, not between {before:?} and {after:?}");
    }

    #[test]
    fn memory_that_is_taken_and_given_back_stays_in_the_peak() {
        const BLOCK_KIB: u64 = 64 * 1024;
        let own = std::process::id();
        let before = memory(own).unwrap();
        drop(std::hint::black_box(vec![1_u8; 1024 * 1024 * 64]));
        let after = memory(own).unwrap();
        assert!(
            before.resident_kib > 1000 && before.peak_kib >= before.resident_kib,
            "{before:?}"
        );
        assert!(
            after.peak_kib >= before.resident_kib + BLOCK_KIB * 9 / 10,
            "{before:?}, {after:?}"
        );
    }

    #[test]
    fn nothing_is_made_up_for_a_process_that_is_not_there() {
        // The identifiers of Linux are below this.
        const NO_PROCESS: u32 = 1 << 22;
        assert_eq!((cpu_time(NO_PROCESS), memory(NO_PROCESS)), (None, None));
        assert_eq!(kib("VmRSS:\t  12 kB\nVmHWM:\tmuch\n", "VmRSS:"), Some(12));
        assert_eq!(kib("VmRSS:\t  12 kB\nVmHWM:\tmuch\n", "VmHWM:"), None);
    }
}
