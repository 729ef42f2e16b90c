//! Rate limits: tasks of one type start at most so often.
//!
//! Each type with a limit has one bucket: a token, and a queue of jobs that wait for it, first come, first served. A
//! bucket sets one timer, however many jobs wait. A job that waits here counts against no child.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::hub::{Timer, TimerKey};
use crate::pool::{Job, JobKey};
use crate::util::token_bucket::TokenBucket;

/// How often a task may start; more than never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
}

impl Rate {
    /// Reads Celery's notation: `100/m`, `2/s`, `0.5/h`, and a number alone for so many a second. `None`: no limit,
    /// which is what nothing and 0 mean.
    ///
    /// # Errors
    /// When it is none of these.
    ///
    /// ```
    /// use celeriac::worker::Rate;
    /// assert_eq!(Rate::parse("120/m").unwrap(), Rate::parse("2").unwrap());
    /// assert_eq!(Rate::parse("0/m").unwrap(), None);
    /// assert_eq!(Rate::parse("10/day").unwrap_err().to_string(), "Invalid rate limit string: '10/day'");
    /// ```
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidRate> {
        let invalid = || InvalidRate(text.to_owned());
        if text.trim().is_empty() {
            return Ok(None);
        }
        let (number, unit) = text.split_once('/').unwrap_or((text, ""));
        let number = f64::from_str(number.trim()).map_err(|_| invalid())?;
        let seconds = match unit.trim() {
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        if !number.is_finite() || number < 0.0 {
            return Err(invalid());
        }
        let per_second = number / seconds;
        Ok((per_second > 0.0).then_some(Self { per_second }))
    }
}

/// A text that is no rate limit. Its `Display` is what Celery answers to the remote command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRate(String);

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid rate limit string: '{}'", self.0)
    }
}

impl std::error::Error for InvalidRate {}

/// The buckets of all types that have a limit.
#[derive(Debug)]
pub(super) struct Buckets {
    by_task: HashMap<String, Bucket>,
    /// Wakes the buckets that have jobs waiting, each once.
    timer: Timer<String>,
    /// Jobs that wait no longer, because their limit was lifted.
    freed: VecDeque<Job>,
}

#[derive(Debug)]
struct Bucket {
    token: TokenBucket,
    queue: VecDeque<Job>,
    /// Its place in the timer, while jobs wait.
    alarm: Option<TimerKey>,
}

impl Buckets {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            by_task: HashMap::new(),
            timer: Timer::new(now),
            freed: VecDeque::new(),
        }
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        let queues = self.by_task.values().map(|bucket| bucket.queue.len());
        self.freed.len() + queues.sum::<usize>()
    }

    /// Limits a task from now on, or no longer. Jobs that wait keep their places.
    pub(super) fn limit(&mut self, task: &str, rate: Option<Rate>, now: Instant) {
        match (self.by_task.get_mut(task), rate) {
            (Some(bucket), Some(rate)) => {
                bucket.token.set_rate(rate.per_second, now);
                bucket.set_alarm(task, &mut self.timer, now);
            }
            (Some(_), None) => {
                if let Some(bucket) = self.by_task.remove(task) {
                    bucket.alarm.map(|alarm| self.timer.cancel(alarm));
                    self.freed.extend(bucket.queue);
                }
            }
            (None, Some(rate)) => {
                let token = TokenBucket::new(rate.per_second, now);
                let bucket = Bucket {
                    token,
                    queue: VecDeque::new(),
                    alarm: None,
                };
                self.by_task.insert(task.to_owned(), bucket);
            }
            (None, None) => {}
        }
    }

    /// Gives a job back that may start now; one that may not waits here.
    pub(super) fn pass(&mut self, task: &str, job: Job, now: Instant) -> Option<Job> {
        let Some(bucket) = self.by_task.get_mut(task) else {
            return Some(job);
        };
        if bucket.queue.is_empty() && bucket.token.take(now) {
            return Some(job);
        }
        bucket.queue.push_back(job);
        if bucket.alarm.is_none() {
            bucket.set_alarm(task, &mut self.timer, now);
        }
        None
    }

    /// The next job whose turn has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Job> {
        if let Some(job) = self.freed.pop_front() {
            return Some(job);
        }
        while let Some(task) = self.timer.pop_due(now) {
            let Some(bucket) = self.by_task.get_mut(&task) else {
                continue; // its limit was lifted
            };
            bucket.alarm = None; // it was this one
            if bucket.queue.is_empty() {
                continue;
            }
            let job = bucket
                .token
                .take(now)
                .then(|| bucket.queue.pop_front())
                .flatten();
            bucket.set_alarm(&task, &mut self.timer, now);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    /// When to ask for the next.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        match self.freed.is_empty() {
            true => self.timer.next_deadline(),
            false => Some(now),
        }
    }

    /// Takes a job out, if it waits here.
    pub(super) fn remove(&mut self, task: &str, key: JobKey) -> Option<Job> {
        let queues = self.by_task.get_mut(task).map(|bucket| &mut bucket.queue);
        for queue in queues.into_iter().chain([&mut self.freed]) {
            if let Some(place) = queue.iter().position(|job| job.key == key) {
                return queue.remove(place);
            }
        }
        None
    }

    /// Lets go of every job that waits.
    pub(super) fn clear(&mut self) {
        self.freed.clear();
        self.timer.clear();
        for bucket in self.by_task.values_mut() {
            bucket.queue.clear();
            bucket.alarm = None;
        }
    }
}

impl Bucket {
    /// Wakes when there is a token, instead of when it was to wake before; not at all while no job waits.
    fn set_alarm(&mut self, task: &str, timer: &mut Timer<String>, now: Instant) {
        let alarm = (!self.queue.is_empty())
            .then(|| timer.insert(now + self.token.wait(now), 0, task.to_owned()));
        if let Some(before) = std::mem::replace(&mut self.alarm, alarm) {
            timer.cancel(before);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn job(number: u64) -> Job {
        Job {
            key: JobKey(number),
            record: vec![],
        }
    }

    /// Runs until `until`; gives the jobs and the milliseconds at which they came.
    fn drain(buckets: &mut Buckets, begin: Instant, until: Duration) -> Vec<(u64, u128)> {
        let mut now = begin;
        let mut came = vec![];
        loop {
            while let Some(job) = buckets.pop_due(now) {
                came.push((job.key.0, now.duration_since(begin).as_millis()));
            }
            match buckets.next_deadline(now) {
                Some(next) if next <= begin + until => now = next.max(now),
                _ => return came,
            }
        }
    }

    /// T25: a limited type is spaced in order of arrival, and another type does not notice.
    #[test]
    fn jobs_of_one_type_are_spaced_and_others_pass() {
        let begin = Instant::now();
        let mut buckets = Buckets::new(begin);
        buckets.limit("slow", Rate::parse("2/s").unwrap(), begin);
        assert!(buckets.pass("slow", job(0), begin).is_some());
        for number in 1..4 {
            assert!(buckets.pass("slow", job(number), begin).is_none());
            assert!(buckets.pass("quick", job(100 + number), begin).is_some());
        }
        assert_eq!(buckets.timer.len(), 1, "one timer for the three");
        let came = drain(&mut buckets, begin, Duration::from_secs(10));
        assert_eq!(came, [(1, 500), (2, 1000), (3, 1500)]);
    }

    #[test]
    fn a_limit_that_changes_loses_no_job_and_keeps_their_order() {
        let begin = Instant::now();
        let mut buckets = Buckets::new(begin);
        buckets.limit("task", Rate::parse("1/h").unwrap(), begin);
        assert!(buckets.pass("task", job(0), begin).is_some());
        for number in 1..5 {
            assert!(buckets.pass("task", job(number), begin).is_none());
        }
        assert!(buckets.remove("task", JobKey(3)).is_some());
        assert!(buckets.remove("task", JobKey(3)).is_none());
        for rate in ["1/m", "5/s", "10/s"] {
            buckets.limit("task", Rate::parse(rate).unwrap(), begin);
            assert_eq!(buckets.timer.len(), 1, "however often it is limited");
        }
        let came = drain(&mut buckets, begin, Duration::from_millis(150));
        assert_eq!(came, [(1, 100)]);
        buckets.limit("task", None, begin);
        let came = drain(&mut buckets, begin, Duration::ZERO);
        assert_eq!(came, [(2, 0), (4, 0)]);
        assert!(buckets.pass("task", job(5), begin).is_some());
    }

    #[test]
    fn rates_are_celerys() {
        for (text, rate) in [("", None), ("0", None), ("0/m", None), (" ", None)] {
            assert_eq!(Rate::parse(text).unwrap(), rate, "{text:?}");
        }
        for (text, per_second) in [
            ("1", 1.0),
            ("1.5/s", 1.5),
            ("90/m", 1.5),
            ("3600/h", 1.0),
            ("5/", 5.0),
        ] {
            assert_eq!(
                Rate::parse(text).unwrap(),
                Some(Rate { per_second }),
                "{text:?}"
            );
        }
        for text in ["a", "1/d", "-1/s", "inf", "1/s/s", "/s"] {
            assert!(Rate::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        /// However often it is asked, no two tokens are closer than a period, and a token waited for is there.
        #[test]
        fn tokens_keep_their_distance(
            rate in 0.5f64..50.0,
            pauses in proptest::collection::vec(0u64..500, 1..100),
        ) {
            let begin = Instant::now();
            let mut bucket = TokenBucket::new(rate, begin);
            let (mut now, mut last) = (begin, None);
            let period = Duration::from_secs_f64(1.0 / rate);
            for pause in pauses {
                now += Duration::from_millis(pause);
                if bucket.take(now) {
                    if let Some(last) = last {
                        prop_assert!(now - last >= period);
                    }
                    last = Some(now);
                } else {
                    prop_assert!(bucket.wait(now) > Duration::ZERO && bucket.wait(now) <= period);
                    let mut later = bucket;
                    prop_assert!(later.take(now + bucket.wait(now)), "nobody waits twice");
                }
            }
        }
    }

    #[test]
    fn a_rate_that_is_next_to_nothing_is_no_panic() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(1e-300, now);
        assert!(bucket.take(now));
        assert!(bucket.wait(now) > Duration::from_secs(86_400));
        bucket.set_rate(10.0, now);
        assert_eq!(bucket.wait(now), Duration::from_millis(100));
    }
}
