//! Whoever talks to a supervisor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use control::{Answer, Request, socket_path};
use rustix::net::SendFlags;

use crate::common;
use crate::common::{Place, isolated};

#[test]
fn control_socket_survives_garbage_and_visitors_that_stay() {
    isolated("control_socket_survives_garbage_and_visitors_that_stay", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let silent: Vec<_> = (0..20).map(|_| place.client()).collect();
        for garbage in [&b"{"[..], b"\xff\0", &[b'['; 90 << 10], b"{\"protocol\":2}"] {
            let channel = place.client().into_channel();
            rustix::net::send(&channel, garbage, SendFlags::NOSIGNAL).unwrap();
            let answer: Answer = channel.receive(Some(common::HANG)).unwrap();
            let Answer::Refused { why } = answer else { panic!("{answer:?}") };
            assert!(why.contains("message") || why.contains("protocol 2"), "{why}");
        }
        let refused = place.client().ask(&Request::Release, common::HANG).unwrap_err();
        assert!(refused.to_string().contains("take over first"), "{refused}");
        assert_eq!(place.status()["worker"]["serving"], true);
        drop(silent);
    });
}

#[test]
fn control_socket_is_for_root_only() {
    isolated("control_socket_is_for_root_only", || {
        let place = Place::new();
        let _supervisor = place.start(&[]);
        let socket = socket_path(&place.runtime_dir());
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        // Were the modes ever loosened, the peer's credentials would still count.
        for path in [place.path("."), place.runtime_dir(), socket] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let visitor = |uid| {
            let mut command = std::process::Command::new(place.path("worker"));
            command.args(["--ignored", "--exact", "control_socket::visitor", "--nocapture", "-q"]);
            let runtime_dir = place.runtime_dir();
            command.uid(uid).env("RESVIEW_TEST_VISIT", runtime_dir).output().unwrap()
        };
        let output = |uid| String::from_utf8_lossy(&visitor(uid).stdout).into_owned();
        assert!(output(65534).contains("Closed"), "{}", output(65534));
        assert!(output(0).contains("\"pid\""), "{}", output(0));
    });
}

#[test]
#[ignore = "the process that visits in another test"]
fn visitor() {
    let Some(runtime_dir) = std::env::var_os("RESVIEW_TEST_VISIT") else { return };
    match control::Client::connect(runtime_dir.as_ref()).unwrap().status(common::HANG) {
        Ok(report) => println!("{report}"),
        Err(error) => println!("{error:?}"),
    }
}
