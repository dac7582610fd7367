//! Kubernetes pods get the view by what the container runtime tells.

use nri::fake::Form;
use nri::{LinuxContainer, PodSandbox};
use testkit::TestCgroup;
use testkit::oci;

use crate::again::{masked, user_namespace};
use crate::common::{eventually, stdout_of};
use crate::inside::{Container, PLAIN};
use crate::pods::{Limited, Node, annotated, container, pod, start};
use crate::reach::{can_reach, has_view, hosts_mem_total, mem_total, mem_total_of};

const MIB: u64 = 1 << 20;

/// What the container's first program sees, which is let go by the runtime and no earlier.
const FIRST: &str = "cat /proc/meminfo /proc/self/mountinfo /proc/vmstat; echo end; exec sleep 600";

fn first_instruction(test: &str, runtime: &str, form: Form, edit: fn(&mut serde_json::Value)) {
    if !can_reach(test, &[runtime]) {
        return;
    }
    let node = Node::start(true);
    let mut connection = node.synchronize(&[]);
    let created = oci::Container::new(runtime, &["sh", "-c", FIRST])
        .memory(48 * MIB)
        .edit(masked)
        .edit(edit)
        .create();
    let (pod, id) = (pod("shop"), format!("{:064x}", created.pid()));
    let one = container(&pod, &id, created.pid());
    let waited = start(&mut connection, form, &pod, &one);
    testkit::figures(test, &format!("the runtime waited {} ms", waited.as_millis()));
    created.start();
    let printed = created.printed();
    assert_eq!(mem_total_of(&printed), 48 << 10);
    let ours = |path: &str| {
        let path = format!(" {path} ");
        printed.lines().any(|line| line.contains(&path) && line.contains(" - fuse.resview "))
    };
    // runc does not let anybody mount over these by the container's configuration.
    assert!(ours("/proc/meminfo") && ours("/proc/vmstat") && ours("/sys/devices/system/cpu"));
    assert_eq!(node.reach.registered(), [id.as_str()]);
    let listed = stdout_of(&node.reach.resview(&["list"]));
    assert!(listed.contains("app"), "{listed}");
    assert!(node.reach.tree("shop_shop-1_app").exists(), "its name has no slash in the tree");
    created.remove();
    connection.stop_container(&pod, &one).unwrap();
    connection.remove_container(form, &pod, &one).unwrap();
    eventually("it is forgotten", || node.reach.registered().is_empty());
}

#[test]
fn a_pod_by_runc_sees_its_own_machine_from_its_first_instruction_on() {
    let test = "a_pod_by_runc_sees_its_own_machine_from_its_first_instruction_on";
    first_instruction(test, "runc", Form::StateChange, |_| {});
}

#[test]
fn a_pod_by_crun_sees_its_own_machine_from_its_first_instruction_on() {
    let test = "a_pod_by_crun_sees_its_own_machine_from_its_first_instruction_on";
    first_instruction(test, "crun", Form::Rpc, |_| {});
}

#[test]
fn a_pod_with_a_user_namespace_by_runc_sees_its_own_machine() {
    let test = "a_pod_with_a_user_namespace_by_runc_sees_its_own_machine";
    first_instruction(test, "runc", Form::Rpc, user_namespace);
}

#[test]
fn a_pod_with_a_user_namespace_by_crun_sees_its_own_machine() {
    let test = "a_pod_with_a_user_namespace_by_crun_sees_its_own_machine";
    first_instruction(test, "crun", Form::StateChange, user_namespace);
}

#[test]
fn a_pod_by_a_cri_o_that_tells_no_process_sees_its_own_machine() {
    let test = "a_pod_by_a_cri_o_that_tells_no_process_sees_its_own_machine";
    if !can_reach(test, &["runc"]) {
        return;
    }
    let node = Node::start(true);
    let mut connection = node.synchronize(&[]);
    let created = oci::Container::new("runc", &["sh", "-c", FIRST])
        .memory(48 * MIB)
        .edit(masked)
        .edit(|config| {
            let path = config["linux"]["cgroupsPath"].as_str().unwrap();
            let path = format!("{path}/crio-{}", id_of_crio());
            config["linux"]["cgroupsPath"] = path.into();
        })
        .create();
    let pod = pod("shop");
    let mut one = container(&pod, &id_of_crio(), created.pid());
    one.pid = 0;
    connection.start_container(Form::StateChange, &pod, &one).unwrap();
    eventually("it has the view", || has_view(created.pid()));
    created.start();
    assert_eq!(mem_total_of(&created.printed()), 48 << 10);
    assert_eq!(node.reach.registered(), [id_of_crio()]);
}

/// One of a container of this process, and of no other test that runs beside it.
fn id_of_crio() -> String {
    format!("{:064x}", std::process::id())
}

#[test]
fn what_runs_already_gets_the_view_and_what_is_to_have_none_does_not() {
    let test = "what_runs_already_gets_the_view_and_what_is_to_have_none_does_not";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(true);
    let web = Limited::new("nri-web", 48 * MIB);
    let asked = Limited::new("nri-asked", 40 * MIB);
    let others: Vec<_> =
        (0..5).map(|number| Limited::any(&format!("nri-other-{number}"))).collect();
    let own = [("app.kubernetes.io/name".to_owned(), "resview".to_owned())];
    let left_alone = [
        annotated("shop", &[("resview.dev/view", "off")]),
        annotated("shop", &[("lxcfs-admission-webhook.aliyun.com/mutate", "no")]),
        pod("kube-system"),
        PodSandbox { labels: own.into(), ..pod("shop") },
        PodSandbox { runtime_handler: "kata-qemu".to_owned(), ..pod("shop") },
    ];
    let mut all: Vec<_> = left_alone
        .iter()
        .zip(&others)
        .map(|(pod, other)| (pod.clone(), container(pod, &format!("off{}", other.pid), other.pid)))
        .collect();
    let by_annotation = annotated("kube-system", &[("resview.dev/view", "on")]);
    for (pod, id, pid) in [
        (pod("shop"), "web", web.pid),
        (by_annotation, "asked", asked.pid),
        (pod("shop"), "soon", 0),
    ] {
        let one = container(&pod, id, pid);
        all.push((pod, one));
    }
    // It has the host's process ids.
    let agent = Limited::any("nri-hosts");
    let mut hosts = container(&pod("shop"), "hosts", agent.pid);
    hosts.linux = Some(LinuxContainer::default());
    all.push((pod("shop"), hosts.clone()));
    let mut connection = node.synchronize(&all);
    eventually("both have it", || has_view(web.pid) && has_view(asked.pid));
    assert_eq!((mem_total(web.pid), mem_total(asked.pid)), (48 << 10, 40 << 10));
    // By an event they do not get it either.
    for (pod, one) in all.iter().take(left_alone.len()).chain([&(pod("shop"), hosts)]) {
        connection.start_container(Form::Rpc, pod, one).unwrap();
        assert!(!has_view(one.pid), "{pod:?}");
    }
    assert_eq!(node.reach.registered(), ["asked", "web"]);
    // Told twice, as by a runtime that lists what it has told of.
    connection.start_container(Form::StateChange, &all[5].0, &all[5].1).unwrap();
    assert_eq!(mem_total(web.pid), 48 << 10);
}

#[test]
fn a_pod_whose_processes_see_each_other_has_views_by_cgroup() {
    let test = "a_pod_whose_processes_see_each_other_has_views_by_cgroup";
    if !can_reach(test, &["runc"]) {
        return;
    }
    let node = Node::start(true);
    let mut connection = node.synchronize(&[]);
    let create = |mib: u64, beside: Option<u32>| {
        let mut container = oci::Container::new("runc", &["sh", "-c", FIRST]);
        if let Some(pid) = beside {
            container = container.pid_namespace_of(pid);
        }
        container.memory(mib * MIB).edit(masked).create()
    };
    let pod = pod("shop");
    let pause = create(32, None);
    pause.start();
    for (id, mib) in [("app", 48_u64), ("debug", 40)] {
        let created = create(mib, Some(pause.pid()));
        start(&mut connection, Form::Rpc, &pod, &container(&pod, id, created.pid()));
        created.start();
        assert_eq!(mem_total_of(&created.printed()), mib << 10, "{id}");
        let seen = created.exec(&["cat", "/proc/meminfo"]);
        assert_eq!(mem_total_of(&String::from_utf8_lossy(&seen.stdout)), mib << 10, "{id}");
        let path = node.reach.path("registrations").join(format!("{id}.json"));
        let registration = std::fs::read_to_string(path).unwrap();
        assert!(registration.contains(created.cgroup()), "{registration}");
        created.remove();
        if id == "app" {
            let one = container(&pod, id, created.pid());
            connection.remove_container(Form::Rpc, &pod, &one).unwrap();
        }
        // Without a word it is forgotten, too, if later.
        eventually("it is forgotten", || node.reach.registered().is_empty());
    }
}

#[test]
fn the_least_of_container_and_pod_counts_and_a_resize_is_seen_at_once() {
    let test = "the_least_of_container_and_pod_counts_and_a_resize_is_seen_at_once";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(true);
    let mut connection = node.synchronize(&[]);
    let pods = TestCgroup::new("nri-pod");
    pods.set_memory(64 * MIB);
    let own = pods.child("app");
    let app = Container::new(PLAIN);
    own.add_pid(app.pid);
    let pod = pod("shop");
    start(&mut connection, Form::Rpc, &pod, &container(&pod, "app", app.pid));
    assert_eq!(mem_total(app.pid), 64 << 10, "the pod's, as the container has none");
    for (resized, mib, seen) in
        [(&own, 48, 48), (&own, 56, 56), (&pods, 40, 40), (&pods, 96, 56), (&own, 128, 96)]
    {
        // One after another as a kubelet would; what is read twice within 5 ms is read once.
        std::thread::sleep(std::time::Duration::from_millis(20));
        resized.set_memory(mib * MIB);
        assert_eq!(mem_total(app.pid), seen << 10, "{} MiB for {}", mib, resized.name());
    }
}

#[test]
fn what_a_pod_says_is_what_it_gets_and_what_is_misspelt_costs_nothing_else() {
    let test = "what_a_pod_says_is_what_it_gets_and_what_is_misspelt_costs_nothing_else";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(true);
    let mut connection = node.synchronize(&[]);
    let web = Limited::new("nri-choices", 48 * MIB);
    let pod = annotated(
        "shop",
        &[
            ("resview.dev/view", "jawohl"),
            ("resview.dev/cpu-count", "quota-floor"),
            ("resview.dev/files", "meminfo=host,stat=bogus"),
        ],
    );
    start(&mut connection, Form::StateChange, &pod, &container(&pod, "web", web.pid));
    assert_eq!(mem_total(web.pid), hosts_mem_total());
    let pid = web.pid.to_string();
    // By its number it is the same container, if another id.
    let registration = std::fs::read_to_string(node.reach.path("registrations/web.json")).unwrap();
    assert!(registration.contains("quota-floor"), "{registration}");
    assert!(!registration.contains("bogus"), "{registration}");
    assert!(stdout_of(&node.reach.resview(&["list", &pid])).contains(&pid));
}

#[test]
fn what_has_another_kernel_is_left_alone() {
    let test = "what_has_another_kernel_is_left_alone";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(true);
    let mut connection = node.synchronize(&[]);
    let pod = pod("shop");
    // A hypervisor's process runs among the host's mounts, which are here those of the daemon.
    let hypervisor = node.reach.daemon.witness();
    connection.start_container(Form::Rpc, &pod, &container(&pod, "machine", hypervisor)).unwrap();
    let mut sandbox = Limited::any("nri-sandbox");
    sandbox.inside.run("umount -l /proc && mount -t tmpfs none /proc");
    connection.start_container(Form::Rpc, &pod, &container(&pod, "sandbox", sandbox.pid)).unwrap();
    // One that is not, told of afterwards, for which the agent has to have looked at the others.
    let web = Limited::any("nri-kernel");
    start(&mut connection, Form::Rpc, &pod, &container(&pod, "web", web.pid));
    assert_eq!(node.reach.registered(), ["web"]);
    assert!(!has_view(sandbox.pid));
}
