//! The reader as a program of its own, so that it can be put into a container: reads files non-stop
//! and reports what it met, phase by phase.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{Reader, Wanted};

const USAGE: &str = "usage: reader --phase FILE --report DIR [--mem-total-kib N] PATH…

Reads every file at and below the PATHs, opened anew and over kept descriptors. FILE holds the name of a
phase. DIR/NAME.begun appears when the reader is in it, for the first time once it has read all files. When
another name is written to FILE, a line of JSON about the phase before goes to DIR/NAME.json. The phase
`end` ends the reader.
";

/// How long a read may take at the end of a phase before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the first reading of all files may take, on an emulated machine.
const START: Duration = Duration::from_secs(600);

/// The program; its usage text says the rest.
#[must_use]
pub fn main() -> ExitCode {
    let Some(task) = Task::parse(std::env::args().skip(1)) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    match task.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reader: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Task {
    wanted: Wanted,
    phase: PathBuf,
    dir: PathBuf,
}

impl Task {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut wanted = Wanted::default();
        let (mut phase, mut dir) = (None, None);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--phase" => phase = Some(PathBuf::from(words.next()?)),
                "--report" => dir = Some(PathBuf::from(words.next()?)),
                "--mem-total-kib" => wanted.mem_total_kib = Some(words.next()?.parse().ok()?),
                option if option.starts_with('-') => return None,
                path => wanted.paths.push(PathBuf::from(path)),
            }
        }
        (!wanted.paths.is_empty()).then_some(Self { wanted, phase: phase?, dir: dir? })
    }

    fn run(&self) -> std::io::Result<()> {
        let reader = Reader::start(&self.wanted)?;
        if !reader.wait_round(START) {
            let report = reader.stop(PATIENCE);
            return Err(std::io::Error::other(format!("does not get on: {}", report.json())));
        }
        let mut phase = self.phase()?;
        self.write(&format!("{phase}.begun"), "")?;
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let next = self.phase()?;
            if next == "end" {
                self.write(&format!("{phase}.json"), &reader.stop(PATIENCE).json())?;
                return self.write("end.begun", "");
            }
            if next != phase {
                self.write(&format!("{phase}.json"), &reader.report(PATIENCE).json())?;
                phase = next;
                self.write(&format!("{phase}.begun"), "")?;
            }
        }
    }

    fn phase(&self) -> std::io::Result<String> {
        Ok(std::fs::read_to_string(&self.phase)?.trim().to_owned())
    }

    /// Writes a file at once, so that whoever waits for it finds all of it.
    fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        let part: &Path = &self.dir.join("part");
        std::fs::write(part, format!("{text}\n"))?;
        std::fs::rename(part, self.dir.join(name))
    }
}
