//! The tests; each for runc and for crun.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use api::{Request, Selector};
use hostfs::Dir;
use runtimes::find::{Finder, Found};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::bundle::Bundle;

type Test = fn(&'static str);

pub(crate) const ALL: &[(&str, Test)] = &[
    ("a_container_starts_through_the_wrapper_and_the_agent_hears_of_it", started),
    ("the_hook_works_for_a_container_with_a_user_namespace", user_namespace),
    ("without_an_agent_a_container_starts_unless_the_view_is_required", no_agent),
    ("an_agent_that_hangs_does_not_keep_a_container_from_starting", hanging_agent),
    ("what_opts_out_is_left_as_it_is", opted_out),
    ("a_bundle_that_cannot_be_edited_is_the_runtimes_business", broken),
    ("a_wrapper_that_is_to_wrap_itself_says_so_instead_of_turning_in_circles", itself),
    ("other_commands_go_straight_through", passed_on),
    ("a_running_container_is_found_by_its_state", found),
];

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn started(runtime: &'static str) {
    let script = "echo $GOMAXPROCS $PYTHON_CPU_COUNT; exec cat /proc/self/cgroup";
    let bundle = Bundle::new(runtime, "start", &["sh", "-c", script]);
    let agent = Agent::start(&bundle.socket());
    let before = bundle.described();
    assert!(text(&bundle.run()).starts_with("2 2\n"));
    let asked = agent.asked();
    let [attach, detach] = asked.as_slice() else { panic!("{asked:?}") };
    let Request::Attach(request) = &attach.request else { panic!("{attach:?}") };
    let Selector::Created(created) = &request.container else { panic!("{request:?}") };
    assert_eq!((created.id.as_str(), attach.root_is_there), (bundle.id(), true), "{created:?}");
    assert_eq!(created.annotations.get("dev.example/x").map(String::as_str), Some("y"));
    let Request::Detach(request) = &detach.request else { panic!("{detach:?}") };
    assert!(matches!(&request.container, Selector::Stopped(one) if one.id == bundle.id()));
    // Besides hooks and hints everything is as it was.
    let mut after = bundle.described();
    assert_eq!(after["hooks"]["createRuntime"][0]["args"][2], "createRuntime");
    after.as_object_mut().unwrap().remove("hooks");
    after["process"]["env"].as_array_mut().unwrap().truncate(1);
    assert_eq!(after, before);
}

fn user_namespace(runtime: &'static str) {
    let bundle = Bundle::new(runtime, "userns", &["cat", "/proc/self/uid_map"]);
    let agent = Agent::start(&bundle.socket());
    let mut specification = bundle.described();
    let linux = &mut specification["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    (linux["uidMappings"], linux["gidMappings"]) = (mapping.clone(), mapping);
    bundle.describe(&specification);
    assert!(text(&bundle.run()).contains("100000"));
    let asked = agent.asked();
    assert!(matches!(asked[0].request, Request::Attach(_)) && asked[0].root_is_there, "{asked:?}");
    assert_eq!(asked.len(), 2);
}

fn no_agent(runtime: &'static str) {
    let bundle = Bundle::new(runtime, "absent", &["echo", "started"]);
    assert_eq!(text(&bundle.run()), "started\n");
    let bundle = Bundle::new(runtime, "required", &["echo", "started"]);
    let mut config = bundle.configuration();
    config["required"] = json!(true);
    bundle.configure(&config);
    let output = bundle.run();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

fn hanging_agent(runtime: &'static str) {
    let bundle = Bundle::new(runtime, "hang", &["echo", "started"]);
    bundle.hook_within(1);
    // Nobody accepts.
    let _listener = UnixListener::bind(bundle.socket()).unwrap();
    assert_eq!(text(&bundle.run()), "started\n");
}

fn opted_out(runtime: &'static str) {
    let bundle = Bundle::new(runtime, "off", &["echo", "started"]);
    let agent = Agent::start(&bundle.socket());
    let mut specification = bundle.described();
    specification["annotations"]["resview.dev/view"] = json!("off");
    bundle.describe(&specification);
    assert_eq!(text(&bundle.run()), "started\n");
    assert_eq!(bundle.described(), specification);
    assert!(agent.asked().is_empty());
}

fn broken(runtime: &'static str) {
    let bundle = Bundle::new(runtime, "broken", &["echo", "started"]);
    bundle.describe(&json!("no object"));
    let output = bundle.run();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("host's values"), "{said}");
    // The wrapper's own configuration is broken: it uses its defaults, and the container starts.
    bundle.describe(&bundle.specification(&["echo", "started"]));
    bundle.configure(&json!({ "moon": 1, "hook": "/x" }));
    let mut command = bundle.call(&["run", "--bundle"]);
    command.arg(bundle.root().join("bundle")).arg(bundle.id());
    let output = command.env(runtimes::wrapper::RUNTIME_VARIABLE, runtime).output().unwrap();
    assert_eq!(text(&output), "started\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("moon"));
}

fn itself(runtime: &'static str) {
    let bundle = Bundle::new(runtime, "itself", &["echo", "started"]);
    let mut config = bundle.configuration();
    config["runtime"] = json!(bundle.root().join(runtimes::wrapper::NAME));
    bundle.configure(&config);
    let output = bundle.run();
    assert!(String::from_utf8_lossy(&output.stderr).contains("the wrapper itself"), "{output:?}");
}

fn passed_on(runtime: &'static str) {
    let bundle = Bundle::new(runtime, "pass", &["echo", "started"]);
    let version = text(&bundle.call(&["--version"]).output().unwrap());
    assert!(version.contains(runtime), "{version}");
    let list = text(&bundle.call(&["list", "-q"]).output().unwrap());
    assert_eq!(list, "");
    let output = bundle.call(&["state", bundle.id()]).output().unwrap();
    assert!(!output.status.success());
    assert!(bundle.described().get("hooks").is_none_or(Value::is_null));
}

fn found(runtime: &'static str) {
    // It says when it runs and ends when its standard input does.
    let script = "echo ready; cat; exit 0";
    let bundle = Bundle::new(runtime, "find", &["sh", "-c", script]);
    let mut command = bundle.call(&["run", "--bundle"]);
    command.arg(bundle.root().join("bundle")).arg(bundle.id());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let finder = Finder::new(bundle.root(), Dir::open("/proc").unwrap());
    let by_id = by_name(&finder, bundle.id());
    assert_eq!((by_id.engine.name(), by_id.id.as_str()), (runtime, bundle.id()));
    assert!(by_id.cgroup.ends_with(bundle.id()), "{by_id:?}");
    assert!(
        !by_id.host_pid_ns && by_id.rootfs.as_ref().is_some_and(|root| root.ends_with("rootfs"))
    );
    let comm = |pid: u32| {
        let mut name = String::new();
        File::open(Path::new("/proc").join(pid.to_string()).join("comm"))
            .unwrap()
            .read_to_string(&mut name)
            .unwrap();
        name
    };
    assert_eq!(comm(by_id.pid).trim_end(), "sh");
    for selector in [Selector::Pid(by_id.pid), Selector::Cgroup(by_id.cgroup.clone())] {
        assert_eq!(finder.find(&selector).unwrap(), std::slice::from_ref(&by_id));
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(finder.find(&Selector::Name(bundle.id().to_owned())).is_err());
}

/// The container. crun writes its state while the container runs already.
fn by_name(finder: &Finder, name: &str) -> Found {
    let begin = Instant::now();
    loop {
        match finder.find(&Selector::Name(name.to_owned())) {
            Ok(mut found) => return found.remove(0),
            Err(error) => {
                let skipped = finder.inventory().skipped;
                assert!(begin.elapsed() < Duration::from_secs(60), "{error}; {skipped:?}");
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
