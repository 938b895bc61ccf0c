use super::{Filter, TABLE_LEN};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

fn frame(destination: [u8; 6]) -> Vec<u8> {
    [&destination[..], &OTHER, &[8, 0, 0x45, 0]].concat()
}

fn tagged(vlan: u16) -> Vec<u8> {
    [&MAC[..], &OTHER, &[0x81, 0], &vlan.to_be_bytes(), &[8, 0]].concat()
}

fn chooses(change: impl Fn(&mut Filter)) -> [bool; 4] {
    let mut filter = Filter {
        promiscuous: false,
        ..Filter::default()
    };
    change(&mut filter);
    [MAC, OTHER, GROUP, [0xff; 6]].map(|to| filter.lets_in(&frame(to), MAC))
}

#[test]
fn each_switch() {
    assert_eq!(chooses(|_| {}), [true, false, false, true]);
    assert_eq!(chooses(|it| it.promiscuous = true), [true; 4]);
    assert_eq!(
        chooses(|it| it.all_multicast = true),
        [true, false, true, true]
    );
    assert_eq!(
        chooses(|it| it.all_unicast = true),
        [true, true, false, true]
    );
    assert_eq!(
        chooses(|it| it.no_broadcast = true),
        [true, false, false, false]
    );
    assert_eq!(
        chooses(|it| it.set_tables(&[OTHER], &[GROUP])),
        [true, true, true, true]
    );
    let silenced = chooses(|it| {
        it.set_tables(&[OTHER], &[GROUP]);
        (it.no_unicast, it.no_multicast) = (true, true);
    });
    assert_eq!(silenced, [true, false, false, true]);
}

#[test]
fn a_longer_list_than_is_kept_lets_all_in() {
    let many = vec![GROUP; TABLE_LEN + 1];
    assert_eq!(
        chooses(|it| it.set_tables(&many, &[])),
        [true, true, false, true]
    );
}

#[test]
fn vlans() {
    let mut filter = Filter::default();
    assert!(filter.lets_in(&tagged(7), MAC));
    assert!(!filter.set_vlan(7, true), "the driver does not filter");
    filter.filter_vlans();
    assert!(!filter.lets_in(&tagged(7), MAC));
    assert!(filter.set_vlan(7, true) && filter.set_vlan(3, true));
    assert!(!filter.set_vlan(4096, true));
    assert!(filter.lets_in(&tagged(7 | 0x6000), MAC), "priority bits");
    assert!(filter.set_vlan(7, false));
    assert!(!filter.lets_in(&tagged(7), MAC) && filter.lets_in(&tagged(3), MAC));
    assert!(filter.lets_in(&frame(MAC), MAC) && filter.is_possible());
    assert!(!filter.lets_in(&tagged(3)[..13], MAC));
}
