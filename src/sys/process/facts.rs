//! What `/proc` tells about a process and its machine.

use std::fs;
use std::io;
use std::time::Duration;

use super::Pid;

/// The 1, 5 and 15 minute load averages; zeroes when the kernel does not tell.
pub fn load_average() -> [f64; 3] {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split(' ').map_while(|word| word.parse().ok());
    [(); 3].map(|()| numbers.next().unwrap_or(0.0))
}

/// How many bytes of memory `pid` has resident: its own pages and those it shares.
pub fn resident_memory(pid: Pid) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: Option<u64> = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(pages.ok_or(io::ErrorKind::InvalidData)? * configured(nix::unistd::SysconfVar::PAGE_SIZE)?)
}

/// Whether `pid` is stopped by a signal or held by a debugger. One that has just died is not: it is about to be reaped.
pub fn is_stopped(pid: Pid) -> io::Result<bool> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let state = after_name.trim_start().chars().next();
    Ok(matches!(state, Some('T' | 't')))
}

/// The processor time `pid` has used, in user and in system mode, with its waited-for children not
/// counted. Counted in ticks of usually 10 ms.
pub fn cpu_time(pid: Pid) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = stat_field(&text, 14)? + stat_field(&text, 15)?;
    let per_second = configured(nix::unistd::SysconfVar::CLK_TCK)?;
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}

/// What the kernel has counted for this process, without its children (`getrusage`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds in user mode.
    pub user: f64,
    /// Seconds in system mode.
    pub system: f64,
    /// KiB of memory that were resident at most.
    pub max_resident: i64,
    /// Page faults without and with I/O.
    pub faults: [i64; 2],
    /// Blocks read and written.
    pub blocks: [i64; 2],
    /// Context switches, voluntary ones and others.
    pub switches: [i64; 2],
}

/// The [`Usage`] of this process.
pub fn usage() -> io::Result<Usage> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        time.tv_sec() as f64 + f64::from(i32::try_from(time.tv_usec()).unwrap_or(0)) / 1e6
    };
    Ok(Usage {
        user: seconds(usage.user_time()),
        system: seconds(usage.system_time()),
        max_resident: usage.max_rss(),
        faults: [usage.minor_page_faults(), usage.major_page_faults()],
        blocks: [usage.block_reads(), usage.block_writes()],
        switches: [
            usage.voluntary_context_switches(),
            usage.involuntary_context_switches(),
        ],
    })
}

/// How many threads this process has.
pub fn thread_count() -> io::Result<u64> {
    stat_field(&fs::read_to_string("/proc/self/stat")?, 20)
}

/// Field `number`, from 3 on, of a `/proc/<pid>/stat` line, counted from 1 as proc(5) does.
pub(super) fn stat_field(line: &str, number: usize) -> io::Result<u64> {
    // Field 2 is the program's name in parentheses, which may itself hold spaces and parentheses.
    let (_, rest) = line.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
    let field = rest
        .split(' ')
        .nth(number - 3)
        .and_then(|word| word.trim_end().parse().ok());
    field.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

pub(super) fn configured(variable: nix::unistd::SysconfVar) -> io::Result<u64> {
    let value = nix::unistd::sysconf(variable)?.and_then(|value| u64::try_from(value).ok());
    value
        .filter(|&value| value > 0)
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// How many processes the kernel has killed so far because the control group of this one had no memory left; nothing
/// where that is not told (no cgroup v2).
pub fn out_of_memory_kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = format!(
        "/sys/fs/cgroup{}/memory.events",
        group.trim_end_matches('/')
    );
    let events = fs::read_to_string(path).ok()?;
    let count = events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::current;
    use super::*;

    #[test]
    fn a_program_may_have_a_name_that_looks_like_fields() {
        let line = "7 (a) 1 (b) S 42 7 7 0";
        assert_eq!(stat_field(line, 4).unwrap(), 42);
        assert!(stat_field(line, 40).is_err());
        assert!(stat_field("", 4).is_err());
    }

    #[test]
    fn this_process_has_memory_time_and_threads_on_a_machine() {
        assert!(resident_memory(current()).unwrap() > 100_000);
        assert!(cpu_time(current()).unwrap() < Duration::from_secs(3600));
        assert!(thread_count().unwrap() >= 1);
        assert!(load_average().iter().all(|load| load.is_finite()));
    }
}
