use super::*;

#[test]
fn every_reason_has_a_name_or_a_meaning() {
    for reason in 0..64 {
        match other(reason) {
            Returned::Failed(Failure::Other(what)) => {
                assert!(
                    what.contains("KVM_EXIT_") || what.contains("does not know"),
                    "{what}"
                );
            }
            Returned::Failed(failure) => panic!("{failure:?}"),
            _ => {}
        }
    }
    assert_eq!(
        other(kb::KVM_EXIT_SHUTDOWN),
        Returned::Exit(Exit::TripleFault)
    );
    let Returned::Failed(Failure::Other(what)) = other(kb::KVM_EXIT_NOTIFY) else {
        panic!()
    };
    assert_eq!(what, "KVM returned with KVM_EXIT_NOTIFY");
}

#[test]
fn port_io_tells_direction_and_count() {
    let Returned::Transfer(transfer) = io(Io {
        direction: 1,
        size: 4,
        port: 0xcf8,
        count: 3,
        data_offset: 0x1000,
    }) else {
        panic!("no transfer")
    };
    assert!(transfer.write);
    assert_eq!((transfer.len, transfer.element), (12, 4));
}
