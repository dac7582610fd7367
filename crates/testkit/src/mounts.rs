//! What is mounted where a process is.

use std::collections::HashMap;

/// The lines of a process's `/proc/PID/mountinfo`, with numbers that do not depend on which were free.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn mounts_of(pid: u32) -> Vec<String> {
    let path = format!("/proc/{pid}/mountinfo");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ' ');
        let mut number = || {
            let next = numbers.len();
            *numbers.entry(fields.next().unwrap()).or_insert(next)
        };
        let (id, parent) = (number(), number());
        lines.push(format!("{id} {parent} {}", fields.next().unwrap()));
    }
    lines
}
