//! The rule of floors: the lower knows nothing of the higher, and engines and devices never meet.
//! ARCHITECTURE.md, "Who may know whom". Tests may use more: only what is built in counts.

use std::collections::BTreeMap;
use std::process::Command;

/// Which of our crates each of our crates may depend on.
const FLOORS: &[(&str, &[&str])] = &[
    ("memory", &[]),
    ("x86", &[]),
    ("block", &[]),
    ("netio", &[]),
    ("folder", &[]),
    ("display", &[]),
    ("migration", &["block", "memory"]),
    ("engine", &["memory", "x86"]),
    ("engine-kvm", &["engine", "memory", "x86"]),
    ("engine-soft", &["engine", "memory", "threads", "x86"]),
    ("engine-tests", &["engine", "memory", "x86"]),
    // x86 for the APIC's state, which every engine can load: it is vocabulary, no engine.
    (
        "devices",
        &[
            "block", "display", "folder", "memory", "netio", "threads", "x86",
        ],
    ),
    (
        "machine",
        &[
            "block",
            "devices",
            "display",
            "engine",
            "engine-kvm",
            "engine-soft",
            "folder",
            "memory",
            "migration",
            "netio",
            "threads",
            "x86",
        ],
    ),
    ("jail", &[]),
    ("threads", &[]),
    ("innkeeper-python", &["block", "jail", "machine", "threads"]),
    // Beside the house: it throws bytes at every floor, and nothing is built with it.
    (
        "fuzz-targets",
        &[
            "block",
            "devices",
            "display",
            "engine",
            "engine-soft",
            "engine-tests",
            "folder",
            "machine",
            "memory",
            "migration",
            "netio",
            "x86",
        ],
    ),
];

/// Crate by crate, which of our own it is built with.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    packages
        .iter()
        .map(|package| {
            let own = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter();
            let built_in = own.filter(|it| it["kind"].is_null() && !it["path"].is_null());
            (name(package), built_in.map(name).collect())
        })
        .collect()
}

#[test]
fn every_crate_knows_only_the_floors_below_it() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    for (package, own) in dependencies() {
        let allowed = floors.get(package.as_str()).unwrap_or_else(|| {
            panic!("the crate {package} has no floor: add it to ARCHITECTURE.md and to this test")
        });
        for dependency in own {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{package} may not know {dependency}"
            );
        }
    }
}

#[test]
fn only_the_border_knows_python() {
    for manifest in std::fs::read_dir("..").expect("crates").flatten() {
        let text = std::fs::read_to_string(manifest.path().join("Cargo.toml")).unwrap_or_default();
        let knows = text.lines().any(|line| line.starts_with("pyo3"));
        assert_eq!(
            knows,
            manifest.file_name() == "python",
            "{:?}",
            manifest.file_name()
        );
    }
}
