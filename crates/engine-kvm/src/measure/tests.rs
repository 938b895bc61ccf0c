use super::*;

#[test]
fn measures_where_kvm_can_be_opened() {
    if let Err(error) = Kvm::new() {
        println!("skipped: /dev/kvm cannot be opened: {error}");
        return;
    }
    let started = Instant::now();
    let measurement = measure().unwrap();
    println!("{} ({:?})", measurement.verdict(), started.elapsed());
    assert!(measurement.instructions_per_second > 0.0, "{measurement:?}");
    assert!(measurement.max_vcpus >= 1);
    assert_eq!(measurement.capabilities["KVM_CAP_IRQCHIP"], 1);
}

#[test]
fn the_verdict_says_why() {
    let slow = Measurement {
        instructions_per_second: 0.5e6,
        failure: None,
        tsc_khz: 0,
        max_vcpus: 1,
        capabilities: BTreeMap::new(),
    };
    assert!(!slow.is_worth_having());
    assert!(slow.verdict().contains("0.5 million"), "{}", slow.verdict());
    let broken = Measurement {
        failure: Some("a reason".to_owned()),
        ..slow
    };
    assert!(broken.verdict().contains("a reason"));
}
