//! What signals and visitors ask for.

use std::io::Write;
use std::time::{Duration, Instant};

use children::{Phase, Worker};
use control::{Answer, ConnectionState, PROTOCOL, Request, ToWorker, Visitor};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};

use crate::config::OnStop;
use crate::ending::How;
use crate::supervisor::{Supervisor, after};

/// As in `resview --version`.
const VERSION: &str = match option_env!("RESVIEW_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// How long a worker may take for a report on itself.
const REPORT_MAX: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(crate) fn hear_signals(&mut self, now: Instant) {
        for signal in self.signals.pending() {
            match signal {
                SIGUSR1 => self.reload(now),
                SIGHUP if self.manager.is_there() => self.reload(now),
                SIGUSR2 => self.switch_virtual(now),
                _ => {
                    let unmount = self.config.on_stop == OnStop::Unmount;
                    self.begin_end(How::asked(unmount), None, now);
                }
            }
        }
    }

    fn reload(&mut self, now: Instant) {
        self.manager.reloading();
        if let Err(why) = self.upgrade(None, None, now) {
            tracing::warn!("no upgrade: {why}");
            self.manager.ready(why);
        }
    }

    fn switch_virtual(&mut self, now: Instant) {
        let on = !self.holdings.virtual_;
        // The words that scripts around LXCFS wait for, whatever the log level and format are.
        let mode = if on { "" } else { "non-" };
        // Nobody may be there to read them any more.
        let _ = writeln!(std::io::stderr(), "Switched into {mode}virtualization mode");
        self.holdings.virtual_ = on;
        self.manager.keep(&self.holdings);
        for worker in self.serving.iter_mut().chain(&mut self.next) {
            worker.tell(&ToWorker::SetVirtual { on }, now);
        }
    }

    pub(crate) fn hear_visitors(&mut self, now: Instant) {
        for (visitor, request) in self.desk.requests(now) {
            self.answer(visitor, request, now);
        }
        if self.asked.iter().any(|(_, until)| now >= *until) {
            self.report(&Value::Null);
        }
    }

    fn answer(&mut self, visitor: Visitor, request: Request, now: Instant) {
        match request {
            Request::Status => {
                self.asked.push((visitor, after(now, REPORT_MAX)));
                match self.serving.as_mut().filter(|worker| worker.phase() == Phase::Serving) {
                    Some(worker) => worker.tell(&ToWorker::Status, now),
                    None => self.report(&Value::Null),
                }
            }
            Request::Upgrade { program } => {
                if let Err(why) = self.upgrade(program, Some(visitor), now) {
                    self.desk.refuse(visitor, why);
                }
            }
            Request::Stop { unmount } => self.begin_end(How::asked(unmount), Some(visitor), now),
            Request::TakeOver => {
                let worker_pid = self.serving.as_ref().map(Worker::pid);
                self.desk.hand_over(visitor, &self.holdings, worker_pid);
            }
            Request::Release => self.begin_end(How::HandOver, Some(visitor), now),
        }
    }

    /// Tells a visitor, if that is still there to take it.
    pub(crate) fn tell(&self, visitor: Option<Visitor>, answer: &Answer) -> bool {
        visitor.is_some_and(|visitor| self.desk.answer(visitor, answer).is_ok())
    }

    /// Answers all who asked how things are.
    pub(crate) fn report(&mut self, worker: &Value) {
        let report = json!({ "supervisor": self.own_report(), "worker": worker });
        for (visitor, _) in std::mem::take(&mut self.asked) {
            self.tell(Some(visitor), &Answer::Report { report: report.clone() });
        }
    }

    fn connections(&self) -> Vec<Value> {
        let state = |state: &ConnectionState| {
            let over_io_uring = state.negotiated.is_over_io_uring();
            let mut report = json!(state);
            report["transport"] = if over_io_uring { "io-uring" } else { "device" }.into();
            report
        };
        self.holdings.estate().connections.iter().map(state).collect()
    }

    fn own_report(&self) -> Value {
        let served = |worker: &Worker| worker.served(Instant::now()).unwrap_or_default();
        let worker = self.serving.as_ref().map(|worker| {
            json!({
                "pid": worker.pid(),
                "serving": worker.phase() == Phase::Serving,
                "degraded": worker.degraded,
                "served_s": served(worker).as_secs(),
            })
        });
        let mut report = json!({
            "pid": std::process::id(),
            "version": VERSION,
            "protocol": PROTOCOL,
            "program": self.program.path(),
            "virtual": self.holdings.virtual_,
            "recovery": self.config.recovery,
            "watchdog_ms": u64::try_from(self.config.watchdog.as_millis()).unwrap_or(u64::MAX),
            "connections": self.connections(),
            "worker": worker,
            "upgrading": self.trial.as_ref().is_some_and(|trial| !trial.done),
            "failing": self.crashes.is_failing(),
        });
        if let (Value::Object(report), Ok(Value::Object(counts))) =
            (&mut report, serde_json::to_value(&self.counts))
        {
            report.extend(counts);
        }
        report
    }
}
