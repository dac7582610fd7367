//! Environment hints: how many CPUs a container has, for programs that ask the kernel.
//!
//! A quota does not show in `sched_getaffinity(2)`, which most language runtimes ask. Many of them
//! can be told by an environment variable. It is fixed at creation: a later resize does not reach
//! it.

use procfmt::cpulist::CpuSet;
use serde_json::Value;

/// The variables that are set unless configured otherwise. All take a decimal number: Go's
/// runtime, OpenMP (which BLAS libraries honour), Python 3.13, .NET.
pub const USUAL: &[&str] =
    &["GOMAXPROCS", "OMP_NUM_THREADS", "PYTHON_CPU_COUNT", "DOTNET_PROCESSOR_COUNT"];

/// How many CPUs the specification grants: the quota rounded up, and no more than the cpuset has.
/// None: it sets no limit.
pub(super) fn cpus(spec: &Value) -> Option<u64> {
    let resources = spec.get("linux")?.get("resources")?;
    let cpu = resources.get("cpu").unwrap_or(&Value::Null);
    let unified = |key: &str| resources.get("unified")?.get(key)?.as_str();
    let whole = |quota: u64, period: u64| (period > 0).then(|| quota.div_ceil(period).max(1));
    let number = |key: &str| cpu.get(key).and_then(Value::as_u64).filter(|&value| value > 0);
    // runc's default period, 100 ms, is the kernel's.
    let by_quota =
        number("quota").and_then(|quota| whole(quota, number("period").unwrap_or(100_000)));
    let by_quota = by_quota.or_else(|| {
        let (quota, period) = unified("cpu.max")?.split_once(' ')?;
        whole(quota.parse().ok()?, period.parse().ok()?)
    });
    let list = cpu.get("cpus").and_then(Value::as_str).filter(|list| !list.is_empty());
    let list = list.or_else(|| unified("cpuset.cpus"));
    let by_cpuset = list
        .and_then(|list| CpuSet::parse_list(list.as_bytes()).ok())
        .map(|set| u64::from(set.len()))
        .filter(|&count| count > 0);
    by_quota.into_iter().chain(by_cpuset).min()
}

/// Adds each variable that the container does not set itself. Whether any was added.
pub(super) fn add(spec: &mut Value, names: &[String]) -> bool {
    let Some(cpus) = cpus(spec).filter(|_| !names.is_empty()) else { return false };
    let Some(process) = spec.get_mut("process").and_then(Value::as_object_mut) else {
        return false;
    };
    let env = process.entry("env").or_insert(Value::Null);
    if env.is_null() {
        *env = Value::Array(Vec::new());
    }
    let Some(env) = env.as_array_mut() else { return false };
    let before = env.len();
    for name in names {
        let set = |one: &Value| one.as_str().and_then(|one| one.split('=').next()) == Some(name);
        if !env.iter().any(set) {
            env.push(Value::from(format!("{name}={cpus}")));
        }
    }
    env.len() > before
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tighter_of_quota_and_cpuset_counts() {
        for (cpu, expected) in [
            (json!({ "quota": 150_000, "period": 100_000 }), Some(2)),
            (json!({ "quota": 20_000 }), Some(1)),
            (json!({ "quota": 400_000, "period": 100_000, "cpus": "0-1" }), Some(2)),
            (json!({ "quota": -1, "period": 100_000, "cpus": "0,2,4" }), Some(3)),
            (json!({ "quota": 0, "period": 0, "cpus": "" }), None),
            (json!({ "quota": u64::MAX, "period": 1 }), Some(u64::MAX)),
            (json!({ "shares": 1024 }), None),
            (json!({ "cpus": "what" }), None),
            (json!([]), None),
        ] {
            let spec = json!({ "linux": { "resources": { "cpu": cpu } } });
            assert_eq!(cpus(&spec), expected, "{spec}");
        }
        let unified = json!({ "cpu.max": "250000 100000", "cpuset.cpus": "0-7" });
        assert_eq!(cpus(&json!({ "linux": { "resources": { "unified": unified } } })), Some(3));
        let none = json!({ "linux": { "resources": { "unified": { "cpu.max": "max 100000" } } } });
        assert_eq!(cpus(&none), None);
        assert_eq!(cpus(&json!({})), None);
    }

    #[test]
    fn what_the_container_sets_itself_stays() {
        let names = ["GOMAXPROCS".to_owned(), "OMP_NUM_THREADS".to_owned()];
        let mut spec = json!({
            "process": { "env": ["GOMAXPROCS=7", "OMP_NUM_THREADS_X=1"] },
            "linux": { "resources": { "cpu": { "quota": 100_000, "period": 100_000 } } },
        });
        assert!(add(&mut spec, &names));
        let expected = json!(["GOMAXPROCS=7", "OMP_NUM_THREADS_X=1", "OMP_NUM_THREADS=1"]);
        assert_eq!(spec["process"]["env"], expected);
        assert!(!add(&mut spec, &names));
        spec["process"] = json!({ "env": null });
        assert!(add(&mut spec, &names));
        spec["process"] = json!({ "env": "odd" });
        assert!(!add(&mut spec, &names));
    }
}
