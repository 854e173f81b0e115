//! The run itself: one thread, many connections; a warm-up, then what is measured, then the answers
//! still owed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::answer::{Answer, Outcomes};
use crate::connection::Connection;
use crate::event::Requests;
use crate::latency::Latencies;
use crate::options::Options;
use crate::readiness::{Interest, wait};
use crate::schedule::Schedule;

/// How long answers are waited for after the end; what is still owed then counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(10);
const OPENING_PAUSE: Duration = Duration::from_millis(2);
const READ_BYTES: usize = 64 * 1024;
/// The longest wait, so that nothing hangs on a socket that says nothing.
const STEP: Duration = Duration::from_millis(100);

/// What was seen. Requests belong to the measured time by when they were due, answers by when they
/// came: the first makes the latencies, the second the throughput.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of each request due in the measured time that was answered.
    pub latencies: Latencies,
    /// By status, of the same requests.
    pub statuses: BTreeMap<u16, u64>,
    pub outcomes: Outcomes,
    /// Requests due in the measured time whose connection broke, or that had no answer.
    pub broken: u64,
    pub unanswered: u64,
    /// Answers that came in the measured time, and the events accepted by them.
    pub answers_in_time: u64,
    pub accepted_in_time: u64,
    /// Events accepted from the first request to the last: what has to be stored in the end.
    pub accepted_ever: u64,
}

pub struct Load<'a> {
    options: &'a Options,
    connections: Vec<Connection>,
    /// Free connections, the one that was free for longest first.
    free: VecDeque<usize>,
    requests: Requests,
    schedule: Schedule,
    end: Duration,
    started: Instant,
    seen: Seen,
}

impl<'a> Load<'a> {
    /// Opens the connections.
    pub fn open(options: &'a Options) -> io::Result<Self> {
        // With a pause between, so that workers that share a socket share the connections too.
        let open = |_| {
            sleep(OPENING_PAUSE);
            Connection::open(options.address)
        };
        let end = options.warmup + options.measured;
        Ok(Self {
            options,
            connections: (0..options.connections)
                .map(open)
                .collect::<Result<_, _>>()?,
            free: (0..options.connections).collect(),
            requests: Requests::new(&options.traffic),
            schedule: Schedule::new(options.rate, end),
            end,
            started: Instant::now(),
            seen: Seen::default(),
        })
    }

    /// Runs to the end; calls `mark` when the measured time begins and when it ends.
    pub fn run(mut self, mut mark: impl FnMut(&str)) -> io::Result<Seen> {
        self.started = Instant::now();
        let mut buffer = vec![0; READ_BYTES];
        let mut interests = Vec::with_capacity(self.connections.len());
        let mut marks = VecDeque::from([(self.options.warmup, "begin"), (self.end, "end")]);
        loop {
            let now = self.started.elapsed();
            while let Some((_, name)) = marks.front().filter(|(time, _)| *time <= now) {
                mark(name);
                marks.pop_front();
            }
            self.send_due()?;
            let is_done = now >= self.end && self.free.len() == self.connections.len();
            if marks.is_empty() && (is_done || now >= self.end + PATIENCE) {
                break;
            }
            interests.clear();
            let interest = |c: &Connection| Interest::new(c.descriptor(), c.has_more_to_write());
            interests.extend(self.connections.iter().map(interest));
            wait(&mut interests, self.pause(marks.front().map(|mark| mark.0)))?;
            for (place, interest) in interests.iter().enumerate() {
                self.serve(place, *interest, &mut buffer)?;
            }
        }
        self.seen.unanswered = self.owed();
        self.seen.latencies.sort();
        Ok(self.seen)
    }

    /// Sends what is due on the connections that are free.
    fn send_due(&mut self) -> io::Result<()> {
        while let Some(&place) = self.free.front() {
            let Some(due) = self.schedule.take(self.started.elapsed()) else {
                break;
            };
            self.free.pop_front();
            let Some(connection) = self.connections.get_mut(place) else {
                break;
            };
            let requests = &mut self.requests;
            if connection.send(due, |out| requests.fill(out)).is_err() {
                self.reopen(place)?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, place: usize, interest: Interest, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(place) else {
            return Ok(());
        };
        if interest.is_writable() && connection.write().is_err() {
            return self.reopen(place);
        }
        if !interest.is_readable() {
            return Ok(());
        }
        match connection.read(buffer) {
            Ok(Some((answer, due))) => {
                self.free.push_back(place);
                self.count(&answer, due);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(_) => self.reopen(place),
        }
    }

    fn count(&mut self, answer: &Answer, due: Duration) {
        let now = self.started.elapsed();
        self.seen.accepted_ever += answer.outcomes.accepted;
        if now >= self.options.warmup && now < self.end {
            self.seen.answers_in_time += 1;
            self.seen.accepted_in_time += answer.outcomes.accepted;
        }
        if due >= self.options.warmup {
            self.seen.latencies.record(now.saturating_sub(due));
            *self.seen.statuses.entry(answer.status).or_default() += 1;
            self.seen.outcomes.accepted += answer.outcomes.accepted;
            self.seen.outcomes.duplicates += answer.outcomes.duplicates;
            self.seen.outcomes.rejected += answer.outcomes.rejected;
        }
    }

    /// A connection that broke is opened again; an idle one may be closed by the server any time.
    fn reopen(&mut self, place: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(place) else {
            return Ok(());
        };
        if let Some(due) = connection.reopen()? {
            self.seen.broken += u64::from(due >= self.options.warmup);
            self.free.push_back(place);
        }
        Ok(())
    }

    /// How long there is nothing to send and nothing to say.
    fn pause(&self, mark: Option<Duration>) -> Duration {
        let now = self.started.elapsed();
        let due = (!self.free.is_empty())
            .then(|| self.schedule.next_due(now))
            .flatten();
        let times = [due, mark, Some(now + STEP)];
        let next = times.into_iter().flatten().min().unwrap_or(now);
        next.saturating_sub(now)
    }

    /// Requests due in the measured time without an answer: those under way, and those never sent.
    fn owed(&mut self) -> u64 {
        let under_way = self.connections.iter().filter(|c| c.is_busy()).count() as u64;
        let is_open = self.options.rate.is_some();
        let unsent = std::iter::from_fn(|| self.schedule.take(self.end)).take_while(|_| is_open);
        under_way + unsent.count() as u64
    }
}
