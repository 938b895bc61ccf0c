//! Why a command failed. Spec: SPC-3, "Sense data"; MMC-3, "Sense code definitions".

use serde::{Deserialize, Serialize};

/// Sense key, additional code and its qualifier.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sense {
    pub(crate) key: u8,
    pub(crate) code: u8,
    pub(crate) qualifier: u8,
}

impl Sense {
    pub(crate) const NOTHING: Sense = Sense::new(0, 0);
    pub(crate) const NO_MEDIUM: Sense = Sense::new(2, 0x3a);
    pub(crate) const READ_ERROR: Sense = Sense::new(3, 0x11);
    pub(crate) const WRITE_ERROR: Sense = Sense::new(3, 0x0c);
    pub(crate) const NO_SUCH_COMMAND: Sense = Sense::new(5, 0x20);
    pub(crate) const OUT_OF_RANGE: Sense = Sense::new(5, 0x21);
    pub(crate) const INVALID_FIELD: Sense = Sense::new(5, 0x24);
    pub(crate) const MEDIUM_CHANGED: Sense = Sense::new(6, 0x28);
    pub(crate) const WRITE_PROTECTED: Sense = Sense::new(7, 0x27);
    pub(crate) const NO_SUCH_UNIT: Sense = Sense::new(5, 0x25);
    pub(crate) const REMOVAL_PREVENTED: Sense = Sense {
        qualifier: 2,
        ..Sense::new(5, 0x53)
    };

    const fn new(key: u8, code: u8) -> Sense {
        Sense {
            key,
            code,
            qualifier: 0,
        }
    }

    /// As REQUEST SENSE answers.
    pub(crate) fn data(self) -> Vec<u8> {
        let mut data = vec![0; 18];
        data[0] = 0x70;
        data[2] = self.key;
        // Bytes that follow.
        data[7] = 10;
        data[12] = self.code;
        data[13] = self.qualifier;
        data
    }
}
