use super::{DeliveryMode, Destination, Message};

#[test]
fn an_msi_names_destination_mode_and_vector() {
    let message = Message::from_msi(0xfee0_3000, 0x4045);
    assert_eq!(
        message,
        Some(Message {
            mode: DeliveryMode::Fixed,
            vector: 0x45,
            level_triggered: false,
            destination: Destination::Physical(3),
        })
    );
    let logical = Message::from_msi(0xfee0_500c, 0x0131).unwrap();
    assert_eq!(logical.destination, Destination::Logical(5));
    let hinted = Message::from_msi(0xfee0_500c, 0x0031).unwrap();
    assert_eq!(hinted.mode, DeliveryMode::LowestPriority);
    let all = Message::from_msi(0xfeef_f000, 0x31).unwrap();
    assert_eq!(all.destination, Destination::Everyone);
    let wide = Message::from_msi(0xfee0_1020, 0x31).unwrap();
    assert_eq!(wide.destination, Destination::Physical(0x101));
}

#[test]
fn what_is_no_interrupt_message_is_nothing() {
    assert_eq!(Message::from_msi(0xfed0_0000, 0x31), None);
    assert_eq!(Message::from_msi(0x1_fee0_0000, 0x31), None);
    assert_eq!(
        Message::from_msi(0xfee0_0000, 0x0300),
        None,
        "reserved mode"
    );
    assert_eq!(
        Message::from_msi(0xfee0_0000, 0x8031),
        None,
        "level, de-asserted"
    );
}

#[test]
fn an_icr_knows_its_shorthands() {
    let to = |command| Message::from_icr(command, 7, false, 2).map(|m| m.destination);
    assert_eq!(to(0x0000_0040), Some(Destination::Physical(7)));
    assert_eq!(to(0x0000_0840), Some(Destination::Logical(7)));
    assert_eq!(to(0x0004_0040), Some(Destination::Only(2)));
    assert_eq!(to(0x0008_0040), Some(Destination::Everyone));
    assert_eq!(to(0x000c_0040), Some(Destination::Others(2)));
    assert_eq!(to(0x0000_8500), None, "INIT de-assert");
    let broadcast = Message::from_icr(0x4040, 0xff, true, 0).map(|m| m.destination);
    assert_eq!(broadcast, Some(Destination::Physical(0xff)));
}
