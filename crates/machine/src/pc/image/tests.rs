use std::path::PathBuf;

use super::FirmwareImage;
use crate::MachineError;
use crate::config::{FirmwareConfig, VariablesConfig};

/// A file of zeroes that the test takes away.
fn file(name: &str, len: usize) -> PathBuf {
    let path = std::env::temp_dir().join(format!("innkeeper-{}-{name}", std::process::id()));
    std::fs::write(&path, vec![0; len]).expect("a writable directory");
    path
}

fn opened(
    image: PathBuf,
    variables: Option<VariablesConfig>,
) -> Result<FirmwareImage, MachineError> {
    FirmwareImage::open(&FirmwareConfig {
        image,
        variables,
        ..FirmwareConfig::default()
    })
}

#[test]
fn firmware_ends_at_four_gib() {
    let code = file("fits", 0x4_0000);
    let image = opened(code.clone(), None).expect("256 KiB");
    assert_eq!(image.rom().base.0, 0xfffc_0000);
    std::fs::remove_file(&code).expect("it was there");
}

#[test]
fn other_sizes_are_refused() {
    for (name, len) in [("odd", 0x4_0001), ("large", (16 << 20) + 0x1000)] {
        let code = file(name, len);
        let refused = opened(code.clone(), None);
        assert!(
            matches!(refused, Err(MachineError::FirmwareSize { .. })),
            "{name}"
        );
        std::fs::remove_file(&code).expect("it was there");
    }
}

#[test]
fn variables_lie_below_the_code_and_are_the_guests_own() {
    let (code, template) = (file("code", 0x4_0000), file("template", 0x2000));
    let store = std::env::temp_dir().join(format!("innkeeper-{}-store", std::process::id()));
    let variables = || VariablesConfig {
        template: template.clone(),
        store: Some(store.clone()),
    };
    let missing = opened(code.clone(), Some(variables()));
    assert!(matches!(missing, Err(MachineError::Variables { .. })));
    std::fs::write(&store, vec![7; 0x2000]).expect("a file");
    let image = opened(code.clone(), Some(variables())).expect("it fits");
    assert_eq!(image.rom().base.0, 0xfffb_e000);
    assert_eq!(std::fs::read(&store).expect("a file")[0], 7);
    for path in [code, template, store] {
        std::fs::remove_file(path).expect("it was there");
    }
}
