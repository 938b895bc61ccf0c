use super::SavedMachine;

#[test]
fn bytes_from_anywhere_are_no_machine() {
    for bytes in [
        &b""[..],
        b"INNK",
        b"INNK\x01",
        b"INNK\x07\0",
        b"INNK\x01\0\xff\xff",
        b"junk",
    ] {
        assert!(SavedMachine::from_bytes(bytes).is_err(), "{bytes:?}");
    }
}
