//! The CPU time and the memory of a process, as the operating system reports them. A value that it does not report is
//! `None`.

use std::fs;
use std::time::Duration;

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The resident memory now.
    pub resident_kib: u64,
    /// The maximum resident memory so far.
    pub peak_kib: u64,
}

/// Returns the CPU time of a process so far, of all its threads, in user mode and in the kernel.
///
/// It reads the process's CPU-time clock, which counts nanoseconds. `/proc/PID/stat` counts in ticks of 10 ms, as long
/// as a whole start. The sum of `/proc/PID/task/*/schedstat` leaves out threads that have ended, such as the Tokio
/// threads that resolve host names.
#[cfg(target_os = "linux")]
pub fn cpu_time(process: u32) -> Option<Duration> {
    use nix::time::ClockId;
    use nix::unistd::Pid;

    let process = Pid::from_raw(i32::try_from(process).ok()?);
    let now = ClockId::pid_cpu_clock_id(process).and_then(ClockId::now);
    now.ok().map(Duration::from)
}

/// Returns `None`: the CPU time is not known on this operating system.
#[cfg(not(target_os = "linux"))]
pub fn cpu_time(_process: u32) -> Option<Duration> {
    None
}

/// Returns the memory of a process, or `None` if there is no `/proc` or no such process.
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

    /// Returns the CPU time of this process from the kernel's ticks of 10 ms: `utime` and `stime`, fields 14 and 15.
    /// Field 2, the name in parentheses, can contain spaces.
    fn ticks() -> Duration {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    #[test]
    fn cpu_time_agrees_with_the_kernels_ticks_and_includes_ended_threads() {
        // Each of the two readings of ticks can be off by two ticks.
        const TOLERANCE: Duration = Duration::from_millis(40);
        let work = || {
            let end = ticks() + Duration::from_millis(100);
            while ticks() < end {}
        };
        thread::spawn(work).join().unwrap();
        let (before, now, after) = (ticks(), cpu_time(std::process::id()).unwrap(), ticks());
        let is_between = now + TOLERANCE >= before && now <= after + TOLERANCE;
        assert!(is_between, "{now:?}, not between {before:?} and {after:?}");
    }

    #[test]
    fn freed_memory_stays_in_the_peak() {
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
    fn an_unknown_process_has_no_cpu_time_and_no_memory() {
        // Process identifiers of Linux are below this.
        const NO_PROCESS: u32 = 1 << 22;
        assert_eq!((cpu_time(NO_PROCESS), memory(NO_PROCESS)), (None, None));
        assert_eq!(kib("VmRSS:\t  12 kB\nVmHWM:\tmuch\n", "VmRSS:"), Some(12));
        assert_eq!(kib("VmRSS:\t  12 kB\nVmHWM:\tmuch\n", "VmHWM:"), None);
    }
}
