//! What signals and visitors ask for.

use std::io::Write;
use std::time::{Duration, Instant};

use control::{Answer, PROTOCOL, Request, ToWorker};
use serde_json::{Value, json};

use crate::desk::Visitor;
use crate::ending::Ending;
use crate::signals::Wish;
use crate::store;
use crate::supervisor::{Supervisor, after};

/// As in `resview --version`.
pub(crate) const VERSION: &str = match option_env!("RESVIEW_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// How long a worker may take for a report on itself.
const REPORT_MAX: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(crate) fn hear_signals(&mut self, now: Instant) {
        for wish in self.signals.pending() {
            match wish {
                Wish::End => {
                    self.begin_end(Ending::as_configured(self.config.on_stop), now);
                }
                Wish::Upgrade => {
                    store::reloading();
                    if let Err(why) = self.upgrade(None, None, now) {
                        tracing::warn!("no upgrade: {why}");
                        store::ready(why);
                    }
                }
                Wish::SwitchVirtual => self.switch_virtual(now),
            }
        }
    }

    fn switch_virtual(&mut self, now: Instant) {
        let on = !self.holdings.virtual_;
        // The words that scripts around LXCFS wait for, whatever the log level and format are.
        let mode = if on { "" } else { "non-" };
        // Nobody may be there to read them any more.
        let _ = writeln!(std::io::stderr(), "Switched into {mode}virtualization mode");
        self.holdings.virtual_ = on;
        if let Some(store) = &self.store {
            store.update(&self.holdings);
        }
        for worker in self.serving.iter_mut().chain(&mut self.next) {
            worker.tell(&ToWorker::SetVirtual { on }, now);
        }
    }

    pub(crate) fn hear_visitors(&mut self, now: Instant) {
        let retry = after(now, REPORT_MAX);
        for (visitor, request) in self.desk.requests(now, retry) {
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
                match self.serving.as_mut().filter(|worker| worker.is_confirmed()) {
                    Some(worker) => worker.tell(&ToWorker::Status, now),
                    None => self.report(&Value::Null),
                }
            }
            Request::Upgrade { program } => {
                if let Err(why) = self.upgrade(program, Some(visitor), now) {
                    self.desk.answer(visitor, &Answer::Refused { why: why.to_owned() });
                }
            }
            Request::Stop { unmount } => {
                self.begin_end(Ending::asked_for(unmount, Some(visitor)), now);
            }
            Request::TakeOver => {
                let worker_pid = self.serving.as_ref().map(|worker| worker.pid());
                self.desk.hand_over(visitor, &self.holdings, worker_pid);
            }
            Request::Release => self.begin_end(Ending::hand_over(visitor), now),
        }
    }

    /// Answers all who asked how things are.
    pub(crate) fn report(&mut self, worker: &Value) {
        let report = json!({ "supervisor": self.own_report(), "worker": worker });
        for (visitor, _) in std::mem::take(&mut self.asked) {
            self.desk.answer(visitor, &Answer::Report { report: report.clone() });
        }
    }

    fn own_report(&self) -> Value {
        let now = Instant::now();
        let connections = self.holdings.connections.iter().map(|held| {
            let state = &held.state;
            json!({ "role": state.role, "mountpoint": state.mountpoint, "attached": state.attached })
        });
        let worker = self.serving.as_ref().map(|worker| {
            json!({
                "pid": worker.pid(),
                "serving": worker.is_confirmed(),
                "degraded": worker.degraded,
                "served_s": worker.served(now).as_secs(),
            })
        });
        json!({
            "pid": std::process::id(),
            "version": VERSION,
            "protocol": PROTOCOL,
            "program": self.program.path(),
            "virtual": self.holdings.virtual_,
            "recovery": self.config.recovery,
            "watchdog_ms": u64::try_from(self.config.watchdog.as_millis()).unwrap_or(u64::MAX),
            "connections": connections.collect::<Vec<_>>(),
            "worker": worker,
            "upgrading": self.trial.as_ref().is_some_and(|trial| !trial.is_done()),
            "failing": self.crashes.next().degraded,
            "deaths": self.counts.deaths,
            "killed": self.counts.killed,
            "upgrades": self.counts.upgrades,
            "rolled_back": self.counts.rolled_back,
            "last_death": self.counts.last_death,
        })
    }
}
