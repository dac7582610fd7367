//! Finding containers by files that engines really wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use api::{Created, Selector};
use hostfs::Dir;
use runtimes::find::{Engine, FindError, Finder, Found};

const WEB: &str = "bc8ee63b5fd43ffe22c66c325eb892face46ed06fae640fb9409fefb010f714d";
const DB: &str = "b1ae9f3b2b8889ffa0cd4f36f7fb61db60ed7895120faa1eb9271ccf2ab41f12";
const CACHE: &str = "6a397a0da9f458618b0c55f91ed3131b73db588706d8d8d2c0250c4c6b216316";
/// The pid namespace of the machine that the fixtures are from.
const HOST: &str = "pid:[4026531836]";

/// A copy of the fixtures that a test may change.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn captured() -> Self {
        let machine = Self::empty();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/engines");
        copy(&fixtures.join("root"), &machine.path("root"));
        copy(&fixtures.join("proc"), &machine.path("proc"));
        for entry in fs::read_dir(machine.path("proc")).unwrap() {
            let dir = entry.unwrap().path();
            if let Ok(namespace) = fs::read_to_string(dir.join("ns_pid")) {
                fs::create_dir(dir.join("ns")).unwrap();
                symlink(namespace.trim(), dir.join("ns/pid")).unwrap();
            }
        }
        machine
    }

    fn empty() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(machine.path("root")).unwrap();
        fs::create_dir_all(machine.path("proc/self/ns")).unwrap();
        symlink(HOST, machine.path("proc/self/ns/pid")).unwrap();
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Adds a process that is `inside[..]` in the pid namespaces further in.
    fn process(&self, pid: u32, cgroup: &str, namespace: &str, inside: &str) -> &Self {
        let numbers = format!("{pid} {inside}");
        self.write(
            &format!("proc/{pid}/stat"),
            &format!(
                "{pid} (a) b) S 1 {pid} {pid} 0 -1 4194560 1 0 0 0 7 8 0 0 20 0 1 0 500{pid} 1 1\n"
            ),
        )
        .write(
            &format!("proc/{pid}/status"),
            &format!(
                "Name:\ta\nTgid:\t{pid}\nPPid:\t1\nNSpid:\t{}\n",
                numbers.replace(' ', "\t").trim()
            ),
        )
        .write(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
        fs::create_dir_all(self.path(&format!("proc/{pid}/ns"))).unwrap();
        symlink(namespace, self.path(&format!("proc/{pid}/ns/pid"))).unwrap();
        self
    }

    fn finder(&self) -> Finder {
        Finder::new(self.path("root"), Dir::open(self.path("proc")).unwrap())
    }

    fn named(&self, name: &str) -> Result<Found, FindError> {
        self.find(&Selector::Name(name.to_owned()))
    }

    fn find(&self, selector: &Selector) -> Result<Found, FindError> {
        self.finder().find(selector).map(|found| {
            assert_eq!(found.len(), 1, "{found:?}");
            found.into_iter().next().unwrap()
        })
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_containers_of_six_engines_are_found_once_each() {
    let machine = Machine::captured();
    let inventory = machine.finder().inventory();
    let told: Vec<_> = inventory
        .found
        .iter()
        .map(|found| (found.engine, found.id.as_str(), found.pid, found.names.first()))
        .collect();
    let (web, cache, db, app) = ("web".into(), "cache".into(), "db".into(), "app".into());
    assert_eq!(
        told,
        [
            (Engine::Docker, WEB, 20970, Some(&web)),
            (Engine::Podman, CACHE, 21238, Some(&cache)),
            (Engine::Podman, DB, 21203, Some(&db)),
            (Engine::Containerd, "ctr1", 21128, Some(&app)),
            (Engine::Runc, "r1", 20789, None),
            (Engine::Crun, "c1", 20807, None),
        ]
    );
    assert_eq!(inventory.skipped, []);
}

#[test]
fn all_that_is_known_of_a_docker_container_comes_together() {
    let found = Machine::captured().named("web").unwrap();
    let task = format!("/run/containerd/io.containerd.runtime.v2.task/moby/{WEB}");
    assert_eq!((found.engine, found.id.as_str()), (Engine::Docker, WEB));
    assert_eq!(found.names, ["web"]);
    assert_eq!((found.pid, found.start_time), (20970, 2_375_235));
    assert_eq!(found.cgroup, format!("/resview-cap-docker/{WEB}"));
    assert_eq!(found.bundle, Some(PathBuf::from(task)));
    assert!(found.rootfs.unwrap().starts_with("/var/lib/docker/vfs/dir"));
    assert!(!found.host_pid_ns);
}

#[test]
fn a_container_is_meant_by_name_id_beginning_pid_and_cgroup() {
    let machine = Machine::captured();
    for (name, id) in [
        ("web", WEB),
        (WEB, WEB),
        ("bc8ee63b5fd4", WEB),
        ("bc", WEB),
        ("shop/pod-1/app", "ctr1"),
        ("pod-1/app", "ctr1"),
        ("ctr1", "ctr1"),
        ("db", DB),
        ("r1", "r1"),
    ] {
        assert_eq!(machine.named(name).unwrap().id, id, "{name}");
    }
    assert_eq!(machine.find(&Selector::Pid(21203)).unwrap().id, DB);
    let cgroup = format!("/resview-cap-podman/libpod-{DB}");
    assert_eq!(machine.find(&Selector::Cgroup(cgroup)).unwrap().id, DB);
    assert_eq!(machine.find(&Selector::Cgroup("/resview-cap/c1/".to_owned())).unwrap().id, "c1");
    assert_eq!(machine.finder().find(&Selector::All).unwrap().len(), 6);
}

#[test]
fn what_is_not_there_is_said_with_what_was_asked_for() {
    let machine = Machine::captured();
    // Created and never started: Docker knows it, but there is no process.
    assert!(
        matches!(machine.named("stopped"), Err(FindError::NoName { name }) if name == "stopped")
    );
    assert!(matches!(machine.named(""), Err(FindError::NoName { .. })));
    let none = machine.find(&Selector::Pid(4)).unwrap_err();
    assert_eq!(none.to_string(), "there is no process 4");
    let none = machine.find(&Selector::Cgroup("/nowhere".to_owned())).unwrap_err();
    assert!(none.to_string().contains("/nowhere"), "{none}");
}

#[test]
fn an_ambiguous_name_lists_the_candidates_and_an_id_comes_before_names() {
    let machine = Machine::captured();
    // Another container of the name of Docker's, and one named as an id begins.
    let list = "root/var/lib/containers/storage/vfs-containers/containers.json";
    let renamed = |name: &str| format!(r#"[{{"id":"{DB}","names":["{name}"]}}]"#);
    machine.write(list, &renamed("web"));
    let error = machine.named("web").unwrap_err();
    assert!(matches!(&error, FindError::Ambiguous { candidates, .. } if candidates.len() == 2));
    assert!(error.to_string().contains(WEB) && error.to_string().contains(DB), "{error}");
    machine.write(list, &renamed("r1"));
    assert_eq!(machine.named("r1").unwrap().engine, Engine::Runc);
    machine.write(list, &renamed("bc"));
    assert_eq!(machine.named("bc").unwrap().id, DB);
}

#[test]
fn a_state_file_whose_process_is_another_by_now_is_skipped() {
    let machine = Machine::captured();
    let stat = fs::read_to_string(machine.path("proc/20789/stat")).unwrap();
    machine.write("proc/20789/stat", &stat.replace("2374980", "2374981"));
    fs::remove_dir_all(machine.path("proc/20807")).unwrap();
    // containerd's init.pid has no start time: the cgroup says who it is.
    machine.write("proc/21128/cgroup", "4:memory:/somewhere/else\n0::/\n");
    // The runtime's own state of it would say better.
    fs::remove_dir_all(machine.path("root/run/containerd/runc/default")).unwrap();
    let inventory = machine.finder().inventory();
    let ids: Vec<_> = inventory.found.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(ids, [WEB, CACHE, DB]);
    let reasons: Vec<_> = inventory.skipped.iter().map(|skipped| &skipped.reason).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason.contains("process 2")), "{reasons:?}");
}

#[test]
fn hostile_and_broken_files_are_skipped_by_name_and_the_rest_is_found() {
    let machine = Machine::captured();
    machine.write("root/run/runc/torn/state.json", "{\"init_process_pid\": 2");
    machine.write("root/run/runc/typed/state.json", "{\"init_process_pid\": \"1\"}");
    machine.write("root/run/crun/list/status", "[]");
    machine.write("root/run/containerd/io.containerd.runtime.v2.task/default/x/init.pid", "-1");
    machine.write("root/run/systemd/machines/odd", "CLASS=container\nLEADER=../../1\n");
    machine.write("root/var/lib/docker/containers/x/config.v2.json", "\0");
    machine.write("root/etc/docker/daemon.json", "{");
    fs::create_dir_all(machine.path("root/run/runc/folder/state.json")).unwrap();
    symlink("/dev/zero", machine.path("root/run/runc/torn/status")).unwrap();
    fs::create_dir_all(machine.path("root/run/youki/zero")).unwrap();
    symlink("/dev/zero", machine.path("root/run/youki/zero/state.json")).unwrap();
    let large = fs::File::create(machine.path("root/run/crun/list/state.json")).unwrap();
    large.set_len(1 << 40).unwrap();
    let inventory = machine.finder().inventory();
    assert_eq!(inventory.found.len(), 6);
    let skipped: Vec<_> =
        inventory.skipped.iter().map(|one| one.path.display().to_string()).collect();
    for name in ["torn", "typed", "folder", "list", "default/x", "odd", "containers/x", "zero"] {
        assert!(skipped.iter().any(|path| path.contains(name)), "{name} of {skipped:?}");
    }
    assert_eq!(skipped.len(), 8);
}

#[test]
fn docker_in_another_data_root_has_its_names() {
    let machine = Machine::captured();
    fs::create_dir_all(machine.path("root/srv")).unwrap();
    fs::rename(machine.path("root/var/lib/docker"), machine.path("root/srv/docker")).unwrap();
    assert!(machine.named("web").is_err());
    machine.write("root/etc/docker/daemon.json", r#"{"data-root": "/srv/docker"}"#);
    assert_eq!(machine.named("web").unwrap().id, WEB);
}

#[test]
fn dockers_labels_with_a_policy_count_as_annotations() {
    let machine = Machine::captured();
    let path = format!("root/var/lib/docker/containers/{WEB}/config.v2.json");
    let text = fs::read_to_string(machine.path(&path)).unwrap();
    let labels = r#""Labels":{"resview.dev/view":"off","other":"x"}"#;
    machine.write(&path, &text.replace(r#""Labels":{}"#, labels));
    let found = machine.named("web").unwrap();
    assert_eq!(
        found.annotations.into_iter().collect::<Vec<_>>(),
        [("resview.dev/view".into(), "off".into())]
    );
}

#[test]
fn lxc_incus_and_nspawn_are_found_by_their_cgroups_and_folders() {
    let machine = Machine::empty();
    machine
        .process(31, "/lxc.payload.c1/init.scope", "pid:[31]", "1")
        .process(32, "/lxc.payload.web_c2", "pid:[32]", "1")
        .process(33, "/machine.slice/systemd-nspawn@deb.service/payload", "pid:[33]", "1")
        // Services and nested containers inside, the monitor outside.
        .process(34, "/lxc.payload.c1/system.slice/x.service", "pid:[34]", "9 1")
        .process(35, "/lxc.monitor.c1", HOST, "")
        .process(36, "/user.slice/browser.scope", "pid:[36]", "1")
        .write(
            "root/run/systemd/machines/deb",
            "NAME=deb\nCLASS=container\nLEADER=33\nROOT=/m/deb\n",
        )
        .write("root/run/systemd/machines/vm", "NAME=vm\nCLASS=vm\nLEADER=36\n")
        .write("root/var/lib/lxc/c1/rootfs/x", "")
        .write("root/var/lib/incus/containers/web_c2/x", "");
    let inventory = machine.finder().inventory();
    let told: Vec<_> =
        inventory.found.iter().map(|found| (found.engine, found.id.as_str(), found.pid)).collect();
    let expected =
        [(Engine::Lxc, "c1", 31), (Engine::Incus, "web_c2", 32), (Engine::Nspawn, "deb", 33)];
    assert_eq!(told, expected, "{:?}", inventory.skipped);
    assert_eq!(machine.named("c1").unwrap().rootfs, Some("/var/lib/lxc/c1/rootfs".into()));
    assert_eq!(machine.named("web/c2").unwrap().pid, 32);
    assert_eq!(machine.named("deb").unwrap().rootfs, Some("/m/deb".into()));
}

#[test]
fn a_rootless_or_nested_container_is_found_by_its_cgroup_alone() {
    let machine = Machine::empty();
    let rootless =
        format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{DB}.scope");
    machine.process(40, &format!("{rootless}/container"), "pid:[40]", "1").process(
        41,
        &format!("/lxc.payload.c1/docker/{WEB}"),
        "pid:[41]",
        "77 1",
    );
    let inventory = machine.finder().inventory();
    let told: Vec<_> = inventory.found.iter().map(|found| (found.engine, found.pid)).collect();
    assert_eq!(told, [(Engine::Docker, 41), (Engine::Podman, 40)]);
}

#[test]
fn a_process_that_no_engine_knows_stands_for_its_namespace_or_itself() {
    let machine = Machine::empty();
    machine
        .process(50, "/app", "pid:[50]", "1")
        .process(51, "/app/worker", "pid:[50]", "2")
        .process(52, "/batch/job", HOST, "")
        .process(53, "/batch/job", HOST, "");
    let found = machine.find(&Selector::Pid(51)).unwrap();
    assert_eq!((found.pid, found.id.as_str()), (50, "pid-50-50050"));
    assert_eq!((found.engine, found.host_pid_ns), (Engine::None, false));
    let found = machine.find(&Selector::Pid(52)).unwrap();
    assert_eq!((found.pid, found.host_pid_ns, found.cgroup.as_str()), (52, true, "/batch/job"));
    assert_eq!(machine.find(&Selector::Cgroup("/app".to_owned())).unwrap().pid, 50);
    assert_eq!(machine.find(&Selector::Cgroup("/batch".to_owned())).unwrap().pid, 52);
    assert_eq!(found.registration_id(), found.id);
}

#[test]
fn a_container_with_the_hosts_pid_namespace_is_found_from_its_processes() {
    let machine = Machine::empty();
    machine.process(60, "/agents/a", HOST, "").process(61, "/agents/a", HOST, "");
    machine.write(
        "root/run/crun/a/status",
        r#"{"pid":60,"process-start-time":50060,"cgroup-path":"/agents/a","new":{"field":[1]}}"#,
    );
    let found = machine.find(&Selector::Pid(61)).unwrap();
    assert_eq!((found.id.as_str(), found.pid, found.host_pid_ns), ("a", 60, true));
}

#[test]
fn cri_o_is_known_by_its_bundle_or_its_cgroup_and_has_kubernetes_names() {
    let machine = Machine::empty();
    let state = |pid: u32, bundle: &str| {
        format!(r#"{{"pid":{pid},"process-start-time":500{pid},"bundle":"{bundle}"}}"#)
    };
    let config = r#"{"annotations":{"io.container.manager":"cri-o","io.kubernetes.container.name":"app","io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"shop"}}"#;
    machine
        .process(65, "/kubepods/a", "pid:[65]", "1")
        .process(66, &format!("/kubepods.slice/crio-{DB}.scope"), "pid:[66]", "1")
        .write(&format!("root/run/crun/{WEB}/status"), &state(65, "/b"))
        .write(&format!("root/run/crun/{DB}/status"), &state(66, "/none"))
        .write("root/b/config.json", config);
    let inventory = machine.finder().inventory();
    assert!(inventory.found.iter().all(|found| found.engine == Engine::CriO), "{inventory:?}");
    assert_eq!(machine.named("shop/p/app").unwrap().id, WEB);
    assert_eq!(machine.named(DB).unwrap().pid, 66);
}

#[test]
fn the_first_process_of_a_container_that_cri_o_tells_without_is_found_by_its_id() {
    let machine = Machine::empty();
    let state = |start_time: u32| format!(r#"{{"pid":65,"process-start-time":{start_time}}}"#);
    machine
        // It shares the pid namespace of another container.
        .process(65, "/pods/a", "pid:[64]", "7")
        .process(66, &format!("/pods/crio-{DB}"), "pid:[66]", "1")
        .write(&format!("root/run/crun/{WEB}/status"), &state(50065))
        .write(&format!("root/run/runc/{CACHE}/status"), &state(1));
    let finder = machine.finder();
    assert_eq!(finder.first_process(WEB), Some(65));
    assert_eq!(finder.first_process(DB), Some(66), "its runtime keeps its state elsewhere");
    assert_eq!(finder.first_process(CACHE), None, "its number is another's by now");
    assert_eq!(finder.first_process(&format!("../crun/{WEB}")), None);
}

#[test]
fn youki_is_known_by_its_cgroup() {
    let machine = Machine::empty();
    machine
        .process(70, "/youki/y1", "pid:[70]", "1")
        .process(71, "/elsewhere", "pid:[71]", "1")
        .write(
            "root/run/youki/y1/state.json",
            r#"{"ociVersion":"v1.0.2","id":"y1","pid":70,"bundle":"/b"}"#,
        )
        .write("root/run/youki/y1/youki_config.json", r#"{"cgroup_path":"/youki/y1"}"#)
        .write("root/run/youki/y2/state.json", r#"{"id":"y2","pid":71,"bundle":"/b"}"#)
        .write("root/run/youki/y2/youki_config.json", r#"{"cgroup_path":"/youki/y2"}"#);
    let inventory = machine.finder().inventory();
    let told: Vec<_> = inventory.found.iter().map(|found| (found.engine, found.pid)).collect();
    assert_eq!(told, [(Engine::Youki, 70)]);
    assert_eq!(inventory.skipped.len(), 1);
}

#[test]
fn a_container_that_is_just_made_is_known_before_its_state_is_written() {
    let machine = Machine::captured();
    fs::remove_dir_all(machine.path("root/run/docker")).unwrap();
    fs::remove_file(
        machine.path(&format!(
            "root/run/containerd/io.containerd.runtime.v2.task/moby/{WEB}/init.pid"
        )),
    )
    .unwrap();
    let created = Created {
        pid: 20970,
        root: Some("/rootfs".into()),
        id: WEB.to_owned(),
        annotations: [("resview.dev/view".to_owned(), "on".to_owned())].into(),
        ..Created::default()
    };
    let found = machine.find(&Selector::Created(created)).unwrap();
    assert_eq!((found.engine, found.names.as_slice()), (Engine::Docker, &["web".to_owned()][..]));
    assert_eq!(found.rootfs, Some("/rootfs".into()));
    assert_eq!(found.annotations.len(), 1);
}

#[test]
fn a_podman_container_has_its_name_from_the_hook_on() {
    let machine = Machine::captured();
    let db = machine.named(DB).unwrap();
    let created = Created {
        pid: db.pid,
        root: Some("/rootfs".into()),
        id: DB.to_owned(),
        bundle: db.bundle,
        ..Created::default()
    };
    let found = machine.find(&Selector::Created(created)).unwrap();
    assert_eq!((found.engine, found.names), (Engine::Podman, db.names));
    let says = |names: &[&str], engine: &str| Created {
        pid: db.pid,
        id: DB.to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        engine: Some(engine.to_owned()),
        ..Created::default()
    };
    let found = machine.find(&Selector::Created(says(&["ns_pod_db"], "cri-o"))).unwrap();
    assert_eq!(found.engine, Engine::CriO, "who tells of it knows best");
    assert_eq!((found.names, found.rootfs), (vec!["ns_pod_db".to_owned()], None));
    let found = machine.find(&Selector::Created(says(&[], "hal"))).unwrap();
    assert_eq!(found.engine, Engine::Podman, "as without a word");
}

#[test]
fn ids_that_cannot_name_a_file_are_replaced() {
    let machine = Machine::empty();
    machine.process(80, "/x", "pid:[80]", "1").write(
        "root/run/runc/a+b/state.json",
        r#"{"init_process_pid":80,"init_process_start":50080}"#,
    );
    let found = machine.named("a+b").unwrap();
    assert_eq!((found.id.as_str(), found.registration_id().as_str()), ("a+b", "pid-80-50080"));
}
