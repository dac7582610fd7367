//! Programs beside those of procps: busybox, sysstat's reports, Python's `os`.

use crate::programs::works;

#[test]
fn busybox_runs_and_top_adds_up() {
    // These two ask the kernel by system call; a file system has no part in what they print.
    works("busybox free", |_| ());
    works("busybox uptime", |_| ());
    works("busybox top -bn1", |text| {
        let words = text.lines().next().unwrap().split([' ', ',']);
        let kib = words.filter_map(|word| word.strip_suffix('K')?.parse::<u64>().ok());
        assert_eq!(kib.take(2).sum::<u64>(), 51_200, "used and free: {text}");
    });
}

#[test]
fn sar_shows_memory_swap_and_the_queue() {
    works("sar -r -S -q 1 1", |text| {
        let mut heads = text.lines().zip(text.lines().skip(1));
        let mut row = |column: &str| -> Vec<u64> {
            let found = heads.find(|(head, _)| head.contains(column));
            let (_, row) = found.unwrap_or_else(|| panic!("no {column} in:\n{text}"));
            row.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect()
        };
        let memory = row("kbmemfree");
        assert!(memory[1] <= 51_200 && memory[2] <= 51_200, "{text}");
        assert!(row("kbswpfree")[1] <= 1 << 20, "{text}");
        assert!(row("plist-sz")[2] < 20, "{text}");
    });
}

#[test]
fn pythons_os_counts_the_cpus() {
    works("/usr/bin/python3 -c 'import os; print(os.cpu_count())'", |text| assert_eq!(text, "1\n"));
}
