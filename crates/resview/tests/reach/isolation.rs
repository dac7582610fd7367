//! In the container tree everybody sees his own, but for the host's root, who sees all.

use std::fs::File;
use std::os::unix::fs::FileExt;

use api::{Outcome, Selector};
use serde_json::json;
use testkit::TestCgroup;
use testkit::oci::{Container, Running};

use crate::again::{masked, user_namespace};
use crate::common::client::PYTHON;
use crate::common::{eventually, seen_by, stdout_of};
use crate::inside;
use crate::reach::{Reach, assert_attached, can_reach, mem_total, mem_total_of};

/// Tries all that root with all capabilities of its user namespace can; a line for each success.
const SPY: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "call")
def attempt(what, body):
    try:
        found = body()
        if found is not None and found is not False:
            print("SUCCESS", what, found, flush=True)
    except OSError:
        pass
own = os.stat("/proc/meminfo").st_dev
secret = sys.argv[1]
files = ["/proc/meminfo", "/proc/stat", "/proc/uptime", "/sys/devices/system/cpu/online"]
def write_all():
    for file in files:
        for how in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            attempt(f"open {how} {file}", lambda: os.open(file, how))
        attempt(f"truncate {file}", lambda: os.truncate(file, 0) or True)
        attempt(f"chmod {file}", lambda: os.chmod(file, 0o777) or True)
        attempt(f"chown {file}", lambda: os.chown(file, 0, 0) or True)
        attempt(f"unlink {file}", lambda: os.unlink(file) or True)
        attempt(f"setxattr {file}", lambda: os.setxattr(file, "user.x", b"1") or True)
        attempt(f"utime {file}", lambda: os.utime(file) or True)
    for place in ("/sys/devices/system/cpu", "/proc/pressure"):
        if not os.path.isdir(place):
            continue
        attempt(f"create in {place}", lambda: os.open(place + "/new", os.O_CREAT | os.O_WRONLY))
        attempt(f"mkdir in {place}", lambda: os.mkdir(place + "/new") or True)
def upwards(start):
    "Is there anything of the view above a directory that was bound?"
    fd = os.open(start, os.O_RDONLY)
    for _ in range(8):
        fd = os.open("..", os.O_RDONLY, dir_fd=fd)
        if os.fstat(fd).st_dev == own or "containers" in os.listdir(fd):
            return os.listdir(fd)
def from_below(start):
    os.mkdir("/tmp/b") if not os.path.isdir("/tmp/b") else None
    if libc.mount(start.encode(), b"/tmp/b", None, 4096, None):
        raise OSError(ctypes.get_errno(), "mount")
    return upwards("/tmp/b")
def by_handle(node):
    "The node under this number, 1 being the root of the tree."
    mount = os.open("/sys/devices/system/cpu", os.O_RDONLY)
    for kind, size in ((0x81, 12), (0x1, 8)):
        raw = node.to_bytes(8, sys.byteorder)
        words = int.from_bytes(raw, sys.byteorder)
        body = (words >> 32).to_bytes(4, sys.byteorder) + (words & 0xffffffff).to_bytes(4, sys.byteorder)
        handle = size.to_bytes(4, sys.byteorder) + kind.to_bytes(4, sys.byteorder) + body + bytes(size - 8)
        fd = libc.open_by_handle_at(mount, ctypes.create_string_buffer(handle), os.O_RDONLY)
        if fd >= 0:
            return os.listdir(fd)
attempt("open_by_handle_at", lambda: by_handle(1))
def in_new_namespaces():
    libc.unshare(0x10000000 | 0x00020000)
write_all()
for what in ("as it is", "in namespaces of its own"):
    for start in ("/sys/devices/system/cpu", "/proc/pressure"):
        if os.path.isdir(start):
            attempt(f"{what}: .. of {start}", lambda: upwards(start))
            attempt(f"{what}: .. of a bind of {start}", lambda: from_below(start))
    for file in ("/proc/meminfo", "/sys/devices/system/cpu"):
        # It may take the flags away, which are its own mount's, and gets no farther by it.
        libc.mount(None, file.encode(), None, 32 | 4096, None)
    write_all()
    attempt(f"{what}: open_by_handle_at", lambda: by_handle(1))
    for root in ("/proc/1/root", "/proc/self/root"):
        for place in ("/run/resview", "/var/lib/resview", sys.argv[2]):
            attempt(f"{what}: {root}{place}", lambda: os.listdir(root + place) or None)
    text = open("/proc/meminfo").read()
    if secret in text:
        print("SUCCESS secret")
    in_new_namespaces()
print("end")
"#;

fn of(runtime: &str, mib: u64) -> Running {
    Container::new(runtime, &["sleep", "3600"])
        .memory(mib << 20)
        .edit(masked)
        .edit(user_namespace)
        .edit(|config| {
            let all =
                ["CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"];
            let all = json!([&all[..], &["CAP_CHOWN", "CAP_FOWNER", "CAP_SYS_CHROOT"]].concat());
            for set in ["bounding", "effective", "permitted", "inheritable"] {
                config["process"]["capabilities"][set] = all.clone();
            }
        })
        .start()
}

#[test]
fn a_containers_root_reads_no_other_view_and_writes_nothing() {
    let test = "a_containers_root_reads_no_other_view_and_writes_nothing";
    if !can_reach(test, &["runc", "crun", PYTHON]) {
        return;
    }
    let reach = Reach::start(&[]);
    let victim = of("crun", 77);
    let spies = ["runc", "crun"].map(|runtime| of(runtime, 48));
    for container in spies.iter().chain([&victim]) {
        assert_attached(&reach.attach(container.pid()));
    }
    let secret = format!("{} kB", 77 << 10);
    let place = reach.path("containers");
    for spy in &spies {
        let words = [PYTHON, "-I", "-c", SPY, &secret, place.to_str().unwrap()];
        let seen = stdout_of(&spy.exec(&words));
        assert_eq!(seen, "end\n");
        assert_eq!(mem_total(spy.pid()), 48 << 10);
    }
    assert_eq!(mem_total(victim.pid()), 77 << 10);
    // The host's root sees all.
    let totals = |id: &String| {
        let text = std::fs::read_to_string(reach.tree(id).join("proc/meminfo")).unwrap();
        mem_total_of(&text)
    };
    let mut totals: Vec<_> = reach.registered().iter().map(totals).collect();
    totals.sort_unstable();
    assert_eq!(totals, [48 << 10, 48 << 10, 77 << 10]);
}

#[test]
fn a_name_that_is_used_again_never_shows_the_container_before() {
    let test = "a_name_that_is_used_again_never_shows_the_container_before";
    if !can_reach(test, &[]) {
        return;
    }
    let reach = Reach::start(&[]);
    let states = seen_by(reach.daemon.witness(), "/run/runc".as_ref()).join("web");
    let mut kept: Vec<(File, u64)> = Vec::new();
    for mib in [40, 50, 60] {
        let cgroup = TestCgroup::new(&format!("again-{mib}"));
        cgroup.set_memory(mib << 20);
        let container = inside::Container::new(inside::PLAIN);
        cgroup.add_pid(container.pid);
        let state = json!({
            "init_process_pid": container.pid,
            "init_process_start": crate::agent::start_time(container.pid),
            "config": { "rootfs": "/" },
        });
        std::fs::create_dir_all(&states).unwrap();
        std::fs::write(states.join("state.json"), state.to_string()).unwrap();
        let answer = reach.attach_with(Selector::Name("web".to_owned()), None, None);
        assert_eq!((answer.outcome, answer.container.id.as_str()), (Outcome::Attached, "web"));
        let path = reach.tree("web/proc/meminfo");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(mem_total_of(&text), mib << 10);
        kept.push((File::open(&path).unwrap(), mib << 10));
        for (file, kib) in &kept {
            let mut text = [0; 100];
            if let Ok(length) = file.read_at(&mut text, 0) {
                let text = String::from_utf8_lossy(&text[..length]);
                assert_eq!(mem_total_of(&text), *kib, "its own or none");
            }
        }
        drop(container);
        eventually("its view goes with it", || std::fs::read(&path).is_err());
    }
    std::fs::remove_dir_all(states).unwrap();
}
