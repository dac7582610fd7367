//! Prints what a container runtime tells: `print_events [SOCKET [INDEX [MILLISECONDS]]]`.
//!
//! With MILLISECONDS, the start of each container takes that long.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nri::{Config, Handle, Listing, Plugin, Target};

struct Printer {
    since: Instant,
    slow: Duration,
}

impl Printer {
    fn print(&self, what: &str, target: &Target) {
        let (pod, container) = (&target.pod, &target.container);
        let namespaces = container.linux.as_ref().map(|linux| &linux.namespaces);
        let namespaces: Vec<_> = namespaces
            .into_iter()
            .flatten()
            .map(|namespace| format!("{}:{}", namespace.r#type, namespace.path))
            .collect();
        println!(
            "{:8.3} {what} {}/{}/{} id={:.12} pid={} state={:?} handler={:?} {}",
            self.since.elapsed().as_secs_f64(),
            pod.namespace,
            pod.name,
            container.name,
            container.id,
            container.pid,
            container.state(),
            pod.runtime_handler,
            namespaces.join(" "),
        );
    }
}

impl Plugin for Printer {
    fn synchronize(&self, listing: &Listing) {
        let (runtime, seconds) = (&listing.runtime, self.since.elapsed().as_secs_f64());
        println!(
            "{seconds:8.3} listing of {} {}: {} pods, {} containers",
            runtime.name,
            runtime.version,
            listing.pods.len(),
            listing.containers.len(),
        );
    }

    fn existing_container(&self, target: &Target) {
        self.print("existing", target);
    }

    fn start_container(&self, target: &Target) {
        self.print("start", target);
        thread::sleep(self.slow);
    }

    fn stop_container(&self, target: &Target) {
        self.print("stop", target);
    }

    fn remove_container(&self, target: &Target) {
        self.print("remove", target);
    }

    fn disconnected(&self, reason: &nri::Error) {
        println!("{:8.3} disconnected: {reason}", self.since.elapsed().as_secs_f64());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = Config { name: "print".to_owned(), ..Config::default() };
    if let Some(socket) = arguments.next() {
        config.socket = socket.into();
    }
    if let Some(index) = arguments.next() {
        config.index = index;
    }
    let slow = arguments.next().map(|word| word.parse()).transpose()?.unwrap_or_default();
    let printer = Printer { since: Instant::now(), slow: Duration::from_millis(slow) };
    Ok(nri::serve(&config, &Arc::new(printer), &Handle::new())?)
}
