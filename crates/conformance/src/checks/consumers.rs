//! Big programs that read the files: only asked for what they take from files. What they ask the
//! kernel for by system call, such as the JVM its memory and its CPUs, no tree of files decides.

use anyhow::{Context, Result, ensure};

use super::cpu_time::Neighbour;
use super::memory::MIB;
use crate::container::Container;
use crate::not_applicable;
use crate::tree::Tree;

/// What a command prints in a container of 512 MiB with CPU 0 alone.
pub(super) fn printed(tree: &Tree, program: &str, command: &str) -> Result<String> {
    installed(program)?;
    let mut container = Container::limited(tree, |cgroup| {
        cgroup.set_memory(512 * MIB);
        cgroup.set_cpuset("0");
    })?;
    container.sh(command)
}

/// Ends the check where a program is not in `PATH`.
pub(super) fn installed(program: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
        return not_applicable(format!("{program} is not installed"));
    }
    Ok(())
}

pub(super) fn node_os_agrees(tree: &Tree) -> Result<()> {
    let text = printed(
        tree,
        "node",
        "node -e \"const os = require(\\\"os\\\");
            console.log(os.totalmem(), os.cpus().length, os.uptime(), ...os.loadavg(),
                os.freemem() <= os.totalmem())\"",
    )?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [total, cpus, uptime, loads @ .., adds_up] = words.as_slice() else {
        anyhow::bail!("node printed {text:?}");
    };
    ensure!(*total == (512 * MIB).to_string(), "os.totalmem() is {total}");
    ensure!(*cpus == "1", "os.cpus().length is {cpus}");
    ensure!(uptime.parse::<f64>()? < 60.0, "os.uptime() is {uptime}");
    ensure!(*adds_up == "true", "os.freemem() > os.totalmem()");
    for load in loads {
        ensure!(load.parse::<f64>()? <= 15.0, "os.loadavg() has {load}");
    }
    Ok(())
}

pub(super) fn python_os_counts_the_cpus(tree: &Tree) -> Result<()> {
    let text =
        printed(tree, "python3", "/usr/bin/python3 -c \"import os; print(os.cpu_count())\"")?;
    ensure!(text.trim() == "1", "os.cpu_count() is {text}");
    Ok(())
}

pub(super) fn busybox_top_shows_the_limit(tree: &Tree) -> Result<()> {
    let text = printed(tree, "busybox", "busybox top -bn1 | head -n 1")?;
    let mut sum = 0;
    for word in text.split([' ', ',']).filter_map(|word| word.strip_suffix('K')).take(2) {
        sum += word.parse::<u64>()?;
    }
    ensure!(sum == (512 * MIB) >> 10, "used and free are {sum} kB: {text}");
    Ok(())
}

/// With its own reading of cgroups off, a JVM takes the load of the CPUs from `/proc/stat`.
pub(super) fn jvm_cpu_load_is_the_containers(tree: &Tree) -> Result<()> {
    let source = "
import java.lang.management.ManagementFactory;
import com.sun.management.OperatingSystemMXBean;
class Load {
    public static void main(String[] words) throws Exception {
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        double load = system.getCpuLoad();
        for (int n = 0; n < 20 && (n < 5 || load < 0); n++) {
            Thread.sleep(500);
            double next = system.getCpuLoad();
            load = n < 2 ? next : Math.min(load, next);
        }
        System.out.println(load);
    }
}";
    let script = format!(
        "dir=$(mktemp -d) && cat >$dir/Load.java <<\"EOF\"\n{source}\nEOF\n
        java -XX:-UseContainerSupport $dir/Load.java; status=$?; rm -r $dir; exit $status"
    );
    // One for each CPU, so that no interval of the host's is idle.
    let _neighbours = (Neighbour::start()?, Neighbour::start()?);
    let text = printed(tree, "java", &script)?;
    let load: f64 = text.trim().parse().with_context(|| format!("java printed {text}"))?;
    // Half of two CPUs would be a busy neighbour's share already.
    ensure!((0.0..0.45).contains(&load), "asleep, it measures a load of {load}");
    Ok(())
}

/// Draws on a terminal of its own, where a `q` waits for it; takes the colours and movements out.
const HTOP: &str = r#"
import re, subprocess
draw = ["script", "-qc", "stty cols 100 rows 30; exec htop -C -U", "/dev/null"]
drawn = subprocess.run(draw, input=b"q\n", capture_output=True,
    env={"TERM": "xterm", "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"})
text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78]", " ", drawn.stdout.decode())
meters = text.split("PID USER")[0]
memory = re.search(r"Mem\s*\[.*?/\s*([0-9.]+[KMGT])", meters, re.S)
print(len(re.findall(r"(?:CPU|\b\d+)\s*\[", meters)), memory.group(1) if memory else meters)
"#;

pub(super) fn htop_draws_the_limit_and_the_cpus(tree: &Tree) -> Result<()> {
    let text = printed(tree, "htop", &format!("/usr/bin/python3 - <<\"EOF\"\n{HTOP}\nEOF\n"))?;
    ensure!(text.split_whitespace().eq(["1", "512M"]), "CPU meters and memory: {text}");
    Ok(())
}
