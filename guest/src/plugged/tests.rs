use super::new_processor;

#[test]
fn only_new_processors_are_heard_of() {
    let event = b"add@/devices/system/cpu/cpu12\0ACTION=add\0SUBSYSTEM=cpu\0";
    assert_eq!(new_processor(event), Some("/devices/system/cpu/cpu12"));
    for other in [
        &b""[..],
        b"\0",
        b"add@/devices/system/cpu/cpu",
        b"add@/devices/system/cpu/cpu1/cache",
        b"add@/devices/system/cpu/cpu../../../x",
        b"remove@/devices/system/cpu/cpu1",
        b"add@/devices/system/memory/memory9",
        b"add@/devices/system/cpu/cpu\xff",
    ] {
        assert_eq!(new_processor(other), None);
    }
}
