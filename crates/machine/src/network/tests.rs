use netio::{NetworkBoot, UserOptions};

use super::{ETHERNET_MTU, links};
use crate::config::NetworkWay;

fn mtu(boot: Option<NetworkBoot>, long: bool) -> Option<u16> {
    let options = UserOptions {
        boot,
        ..UserOptions::default()
    };
    let links = links(&NetworkWay::User(options), 1, long).expect("a user network");
    links[0].mtu()
}

#[test]
fn packets_are_short_where_ipxe_may_boot() {
    assert_eq!(mtu(None, true), Some(UserOptions::default().mtu));
    assert_eq!(mtu(None, false), Some(ETHERNET_MTU));
    assert_eq!(mtu(Some(NetworkBoot::default()), true), Some(ETHERNET_MTU));
}
