use std::collections::BTreeMap;

use engine_kvm::Measurement;

use super::{Kept, VERSION, decode};

fn kept(version: u16) -> Vec<u8> {
    let measurement = Measurement {
        instructions_per_second: 1e9,
        failure: None,
        tsc_khz: 2_000_000,
        max_vcpus: 8,
        capabilities: BTreeMap::new(),
    };
    let kept = Kept {
        version,
        boot: "this".to_owned(),
        measurement,
    };
    postcard::to_stdvec(&kept).expect("plain values")
}

#[test]
fn only_this_boot_and_version_count() {
    let bytes = kept(VERSION);
    assert!(decode(&bytes, "this").is_some_and(|it| it.is_worth_having()));
    assert!(decode(&bytes, "another").is_none());
    assert!(decode(&kept(VERSION + 1), "this").is_none());
    assert!(decode(&bytes[..bytes.len() / 2], "this").is_none());
    assert!(decode(b"junk", "this").is_none());
}
