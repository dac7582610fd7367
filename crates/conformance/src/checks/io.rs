//! How the files behave when they are read in other ways than by `cat`.

use anyhow::{Result, ensure};

use crate::container::Container;
use crate::text::meminfo;
use crate::tree::Tree;

/// The files as a Python list. A file that answers a plain read with an error is left out.
fn python_list(tree: &Tree) -> String {
    let files: Vec<String> = tree.proc_files().iter().map(|file| format!("\"/{file}\"")).collect();
    format!(
        "import os, sys
def readable(path):
    try:
        with open(path, 'rb') as file: file.read()
        return True
    except OSError:
        return False
files = [path for path in [{}] if readable(path)]
bad = []\n",
        files.join(", ")
    )
}

/// Runs a program that puts what is wrong into `bad`.
fn nothing_bad(tree: &Tree, program: &str) -> Result<()> {
    let mut container = Container::new(tree)?;
    let program = format!("{}{program}\nprint('; '.join(bad))", python_list(tree));
    let bad = container.python(&program)?;
    ensure!(bad.trim().is_empty(), "{}", bad.trim());
    Ok(())
}

pub(super) fn read_past_end_is_eof(tree: &Tree) -> Result<()> {
    nothing_bad(
        tree,
        "
for path in files:
    fd = os.open(path, os.O_RDONLY)
    try:
        if os.pread(fd, 100, 1 << 24) != b'':
            bad.append(path + ' has something at 16 MiB')
        while os.read(fd, 65536): pass
        if os.read(fd, 100) != b'':
            bad.append(path + ' goes on after its end')
    except OSError as error:
        bad.append(path + ': ' + str(error))",
    )
}

pub(super) fn first_pread_at_offset(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/cpuinfo"])?;
    // Clock rates change, the first lines do not.
    nothing_bad(
        tree,
        "
whole = open('/proc/cpuinfo', 'rb').read()
fd = os.open('/proc/cpuinfo', os.O_RDONLY)
if os.pread(fd, 20, 10) != whole[10:30]:
    bad.append('pread(20, 10) gives ' + repr(os.pread(fd, 20, 10)))",
    )
}

pub(super) fn seek_to_zero_refreshes(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/uptime"])?;
    nothing_bad(
        tree,
        "
import time
fd = os.open('/proc/uptime', os.O_RDONLY)
first = os.read(fd, 100)
time.sleep(1.2)
os.lseek(fd, 0, os.SEEK_SET)
if os.read(fd, 100) == first:
    bad.append('still ' + repr(first))",
    )
}

pub(super) fn tail_wc_dd(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let mut container = Container::new(tree)?;
    let text = container.read("/proc/meminfo")?;
    let lines = text.lines().count();
    let key = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    for command in [
        "wc -l </proc/meminfo",
        "tail -n +1 /proc/meminfo | wc -l",
        "dd if=/proc/meminfo bs=7 2>/dev/null | wc -l",
    ] {
        let counted = container.sh(command)?;
        ensure!(counted.trim() == lines.to_string(), "{command}: {counted} of {lines} lines");
    }
    let last = container.sh("tail -n 1 /proc/meminfo")?;
    let expected = key(text.lines().last().unwrap_or_default());
    ensure!(key(&last) == expected, "tail -n 1 gives {last:?}");
    Ok(())
}

pub(super) fn threads_on_one_descriptor_never_torn(tree: &Tree) -> Result<()> {
    tree.needs(&["proc/meminfo"])?;
    let program = r#"
import os, re, threading, time
whole = re.compile(rb'(?:[A-Za-z0-9_()]+: +\d+(?: kB)?\n)+')
length = open('/proc/meminfo', 'rb').read().count(b'\n')
fd = os.open('/proc/meminfo', os.O_RDONLY)
torn, end = [], time.monotonic() + 3
def read():
    while time.monotonic() < end and not torn:
        text = os.pread(fd, 65536, 0)
        if not whole.fullmatch(text) or text.count(b'\n') != length:
            torn.append(text)
threads = [threading.Thread(target=read) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(repr(torn[0])[-200:] if torn else 'whole')"#;
    let text = Container::new(tree)?.python(program)?;
    ensure!(text.trim() == "whole", "a reader got {}", text.trim());
    Ok(())
}

pub(super) fn size_is_zero_or_exact(tree: &Tree) -> Result<()> {
    nothing_bad(
        tree,
        "
for path in files:
    size, length = os.stat(path).st_size, len(open(path, 'rb').read())
    if size not in (0, length):
        bad.append('%s says %d and has %d' % (path, size, length))",
    )
}

pub(super) fn writes_are_refused(tree: &Tree) -> Result<()> {
    nothing_bad(
        tree,
        "
for path in files:
    # Triggers are written to these.
    if '/pressure/' in path: continue
    try:
        fd = os.open(path, os.O_RDWR)
        os.write(fd, b'1')
        bad.append(path + ' can be written')
    except OSError:
        pass",
    )?;
    // Whatever was tried, the file is as before.
    tree.needs(&["proc/meminfo"])?;
    meminfo(&Container::new(tree)?.read("/proc/meminfo")?, "MemTotal").map(|_| ())
}
