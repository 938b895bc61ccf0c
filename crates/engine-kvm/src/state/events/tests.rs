use super::*;

fn round_trip(injected: Injected) {
    let events = Events {
        interrupt_shadow: true,
        nmi_pending: true,
        nmi_masked: true,
        injected: Some(injected),
    };
    assert_eq!(from_kvm(&to_kvm(&events).unwrap()), events);
}

#[test]
fn nothing_stays_nothing() {
    let events = Events::default();
    assert_eq!(from_kvm(&to_kvm(&events).unwrap()), events);
}

#[test]
fn each_kind_of_event_comes_back() {
    let hardware = |vector, error_code| Injected {
        vector,
        error_code,
        software: false,
    };
    round_trip(hardware(vector::PF, Some(7)));
    round_trip(hardware(vector::DE, None));
    round_trip(hardware(vector::NMI, None));
    round_trip(hardware(0x80, None));
    for vector in [vector::BP, vector::OF, 0x10, 0x80] {
        round_trip(Injected {
            vector,
            error_code: None,
            software: true,
        });
    }
}
