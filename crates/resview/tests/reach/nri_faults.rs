//! The plugin, the agent and the runtime end and come again, and policies change meanwhile.

use nri::fake::Form;
use rustix::process::Signal;
use serde_json::json;

use crate::agent::start_time;
use crate::common::{eventually, seen_by, stdout_of};
use crate::pods::{Limited, Node, container, pod, start};
use crate::reach::{can_reach, has_view, mem_total};
use crate::support::kill;

#[test]
fn an_agent_that_is_killed_at_any_moment_loses_no_pod() {
    let test = "an_agent_that_is_killed_at_any_moment_loses_no_pod";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(true);
    let pod = pod("shop");
    let mut containers: Vec<(_, Limited)> = Vec::new();
    for round in 0_u64..6 {
        let all: Vec<_> =
            containers.iter().map(|(one, _)| (pod.clone(), Clone::clone(one))).collect();
        let mut connection = node.synchronize(&all);
        let new = Limited::any(&format!("nri-killed-{round}"));
        let one = container(&pod, &format!("c{round}"), new.pid);
        let agent = node.reach.status();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(round * 8));
                if let Some(agent) = agent {
                    kill(agent.pid, Signal::KILL);
                }
            });
            // The runtime lets the container go when the connection is closed.
            let _ = connection.start_container(Form::Rpc, &pod, &one);
        });
        containers.push((one, new));
    }
    let all: Vec<_> = containers.iter().map(|(one, _)| (pod.clone(), Clone::clone(one))).collect();
    let _connection = node.synchronize(&all);
    eventually("all have the view", || containers.iter().all(|(one, _)| has_view(one.pid)));
    assert_eq!(node.reach.registered().len(), containers.len());
}

#[test]
fn a_pod_that_starts_without_a_daemon_gets_the_view_once_there_is_one() {
    let test = "a_pod_that_starts_without_a_daemon_gets_the_view_once_there_is_one";
    if !can_reach(test, &[]) {
        return;
    }
    let mut node = Node::start(false);
    let plugin = node.plugin();
    let mut connection = node.synchronize(&[]);
    let status = |node: &Node| {
        let output = node.reach.resview(&["status", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["nri"].clone()
    };
    eventually("it is told of", || status(&node)["pid"].is_u64());
    assert_eq!(status(&node)["runtime"], json!("fake"));
    let socket = node.reach.socket();
    node.reach.daemon.command(&["stop"]);
    eventually("the agent is gone", || !socket.exists());
    let web = Limited::any("nri-late");
    let pod = pod("shop");
    let one = container(&pod, "web", web.pid);
    connection.start_container(Form::StateChange, &pod, &one).unwrap();
    assert!(!has_view(web.pid));
    node.reach.daemon.start_again(&["--log", "warn"]);
    eventually("it has the view now", || has_view(web.pid));
    drop(connection);
    // What the daemon has left by then is told of anew.
    let mut connection = node.synchronize(&[(pod.clone(), one.clone())]);
    connection.remove_container(Form::Rpc, &pod, &one).unwrap();
    eventually("it is forgotten", || node.reach.registered().is_empty());
    plugin.signal(Signal::TERM);
    assert!(plugin.end().0.success());
    eventually("nothing is told of it", || status(&node).is_null());
}

#[test]
fn an_agent_that_hangs_keeps_no_pod_waiting() {
    let test = "an_agent_that_hangs_keeps_no_pod_waiting";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(false);
    let _plugin = node.plugin();
    let mut connection = node.synchronize(&[]);
    let agent = node.reach.status().unwrap().pid;
    kill(agent, Signal::STOP);
    let pod = pod("shop");
    let pods: Vec<_> = (0..3).map(|number| Limited::any(&format!("nri-hang-{number}"))).collect();
    for one in &pods {
        let one = container(&pod, &format!("c{}", one.pid), one.pid);
        connection.start_container(Form::Rpc, &pod, &one).unwrap();
        assert!(!has_view(one.pid), "it was let go nevertheless");
    }
    kill(agent, Signal::CONT);
    eventually("they have the view now", || pods.iter().all(|one| has_view(one.pid)));
}

#[test]
fn a_policy_that_changes_counts_for_what_runs() {
    let test = "a_policy_that_changes_counts_for_what_runs";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(true);
    node.write_policy(r#"{"version":1,"default":"off","namespaces":{"on":["team-*"]}}"#);
    // What was known of the policy before the plugin was connected does not matter.
    let (web, red) = (Limited::any("nri-policy"), Limited::any("nri-policy-red"));
    let (shop, team) = (pod("shop"), pod("team-red"));
    let web_one = container(&shop, "web", web.pid);
    let all = [(shop.clone(), web_one.clone()), (team.clone(), container(&team, "red", red.pid))];
    let mut connection = node.synchronize(&all);
    eventually("opted in by its namespace's name", || has_view(red.pid));
    // It may have closed the connection, if it had not seen the file when it was started.
    let _ = connection.start_container(Form::Rpc, &shop, &web_one);
    assert!(!has_view(web.pid));
    drop(connection);
    let namespaces = node.reach.daemon.path("run").join("namespaces.json");
    node.write(&namespaces, r#"{"version":1,"views":{"shop":"on"}}"#);
    let connection = node.synchronize(&all);
    eventually("opted in by a label", || has_view(web.pid));
    assert_eq!(mem_total(web.pid), 48 << 10);
    node.write(&namespaces, r#"{"version":1,"views":{"shop":"off"}}"#);
    drop(connection);
    let _connection = node.synchronize(&all);
    eventually("and out of it again", || !has_view(web.pid));
    assert!(has_view(red.pid));
}

#[test]
fn a_container_that_started_between_the_list_and_the_first_event_is_found() {
    let test = "a_container_that_started_between_the_list_and_the_first_event_is_found";
    if !can_reach(test, &[]) {
        return;
    }
    let node = Node::start(true);
    let (web, pause) = (Limited::any("nri-gap"), Limited::any("nri-gap-pause"));
    let states = seen_by(node.reach.daemon.witness(), "/run/runc".as_ref());
    for (id, pid, kind) in [("web", web.pid, "container"), ("pause", pause.pid, "sandbox")] {
        let bundle = node.dir.path().join(id);
        std::fs::create_dir(&bundle).unwrap();
        let annotations = json!({ "io.kubernetes.cri.container-type": kind });
        let config = json!({ "ociVersion": "1.0.2", "annotations": annotations });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let state = json!({
            "init_process_pid": pid,
            "init_process_start": start_time(pid),
            "config": { "rootfs": "/", "labels": [format!("bundle={}", bundle.display())] },
        });
        std::fs::create_dir_all(states.join(id)).unwrap();
        std::fs::write(states.join(id).join("state.json"), state.to_string()).unwrap();
    }
    // It is in no list and no event tells of it, until the plugin asks again.
    let _first = node.synchronize(&[]);
    let pod = pod("shop");
    let _second = node.synchronize(&[(pod.clone(), container(&pod, "web", web.pid))]);
    eventually("it has the view", || has_view(web.pid));
    assert!(!has_view(pause.pid));
    assert!(stdout_of(&node.reach.resview(&["status"])).contains("runtime: fake"));
}

#[test]
fn a_runtime_that_is_started_again_is_found_again() {
    let test = "a_runtime_that_is_started_again_is_found_again";
    if !can_reach(test, &[]) {
        return;
    }
    let mut node = Node::start(true);
    drop(node.synchronize(&[]));
    let socket = node.dir.path().join("nri.sock");
    for round in 0..3 {
        // The socket is a new one each time.
        node.runtime = nri::fake::Runtime::listen(&socket).unwrap();
        let mut connection = node.synchronize(&[]);
        let web = Limited::any(&format!("nri-again-{round}"));
        let pod = pod("shop");
        let one = container(&pod, &format!("c{round}"), web.pid);
        start(&mut connection, Form::StateChange, &pod, &one);
        drop(connection);
    }
}
