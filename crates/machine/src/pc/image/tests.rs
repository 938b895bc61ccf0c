use super::FirmwareImage;
use crate::MachineError;

fn opened(name: &str, len: usize) -> Result<FirmwareImage, MachineError> {
    let path = std::env::temp_dir().join(format!("innkeeper-{}-{name}", std::process::id()));
    std::fs::write(&path, vec![0; len]).expect("a writable directory");
    let opened = FirmwareImage::open(&path);
    std::fs::remove_file(&path).expect("it was there");
    opened
}

#[test]
fn firmware_ends_at_four_gib() {
    let image = opened("fits", 0x4_0000).expect("256 KiB");
    assert_eq!(image.rom().base.0, 0xfffc_0000);
}

#[test]
fn other_sizes_are_refused() {
    for (name, len) in [("odd", 0x4_0001), ("large", (16 << 20) + 0x1000)] {
        let refused = opened(name, len);
        assert!(
            matches!(refused, Err(MachineError::FirmwareSize { .. })),
            "{name}"
        );
    }
}
