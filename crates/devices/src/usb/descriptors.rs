//! What devices say of themselves. Spec: USB 2.0, "Standard USB Descriptor Definitions".

/// How fast a device's wire is. Spec: USB 2.0, "Data Signaling Rate".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speed {
    Low,
    Full,
    High,
}

/// A device with one configuration of one interface.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) speed: Speed,
    pub(super) product: &'static str,
    pub(super) serial: String,
    /// Its number among ours.
    pub(super) number: u16,
    /// Class, subclass and protocol of its interface.
    pub(super) class: [u8; 3],
    /// Between the interface's descriptor and those of its endpoints.
    pub(super) class_descriptor: Vec<u8>,
    /// Address, attributes, largest packet and interval of each.
    pub(super) endpoints: Vec<(u8, u8, u16, u8)>,
    /// Of a HID device: its report descriptor.
    pub(super) report: Option<&'static [u8]>,
}

const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
const QUALIFIER: u8 = 6;
const HID: u8 = 0x21;
const REPORT: u8 = 0x22;

const MAKER: &str = "Innkeeper";
/// The number of virtual machines' virtual devices.
const VENDOR: u16 = 0x1af4;
const ENGLISH: u16 = 0x0409;

impl Description {
    /// A descriptor of this kind, or the string of this index.
    pub(super) fn find(&self, kind: u8, index: u8) -> Option<Vec<u8>> {
        match kind {
            DEVICE => Some(self.device()),
            CONFIGURATION if index == 0 => Some(self.configuration()),
            STRING => self.string(index),
            // What it would be at the other speed: who knows but one has no answer.
            QUALIFIER if self.speed == Speed::High => {
                Some(vec![10, QUALIFIER, 0, 2, 0, 0, 0, 64, 1, 0])
            }
            _ => None,
        }
    }

    /// One that is asked of the interface.
    pub(super) fn of_interface(&self, kind: u8) -> Option<Vec<u8>> {
        match kind {
            HID => self.report.map(|_| self.class_descriptor.clone()),
            REPORT => self.report.map(<[u8]>::to_vec),
            _ => None,
        }
    }

    /// Bytes of the largest packet of an endpoint. `None` where there is no such endpoint.
    pub(super) fn largest(&self, endpoint: u8) -> Option<usize> {
        if endpoint & 0x7f == 0 {
            return Some(self.largest_control().into());
        }
        let found = self.endpoints.iter().find(|it| it.0 == endpoint)?;
        Some(found.2.into())
    }

    fn largest_control(&self) -> u8 {
        match self.speed {
            Speed::Low => 8,
            Speed::Full | Speed::High => 64,
        }
    }

    fn device(&self) -> Vec<u8> {
        // Systems that know nothing faster are told of no USB 2.
        let [release, release_high] = match self.speed {
            Speed::Low | Speed::Full => [0x10, 0x01],
            Speed::High => [0x00, 0x02],
        };
        let [vendor, vendor_high] = VENDOR.to_le_bytes();
        let [product, product_high] = self.number.to_le_bytes();
        vec![
            18,
            DEVICE,
            release,
            release_high,
            0,
            0,
            0,
            self.largest_control(),
            vendor,
            vendor_high,
            product,
            product_high,
            0x00,
            0x01,
            1,
            2,
            3,
            1,
        ]
    }

    fn configuration(&self) -> Vec<u8> {
        // It has power of its own.
        let mut all = vec![9, CONFIGURATION, 0, 0, 1, 1, 0, 0xc0, 0];
        let count = u8::try_from(self.endpoints.len()).unwrap_or(0);
        let [class, subclass, protocol] = self.class;
        all.extend([9, INTERFACE, 0, 0, count, class, subclass, protocol, 0]);
        all.extend(&self.class_descriptor);
        for &(address, attributes, largest, interval) in &self.endpoints {
            let [low, high] = largest.to_le_bytes();
            all.extend([7, ENDPOINT, address, attributes, low, high, interval]);
        }
        let len = u16::try_from(all.len()).unwrap_or(u16::MAX);
        all[2..4].copy_from_slice(&len.to_le_bytes());
        all
    }

    fn string(&self, index: u8) -> Option<Vec<u8>> {
        let units: Vec<u16> = match index {
            0 => vec![ENGLISH],
            1 => MAKER.encode_utf16().collect(),
            2 => self.product.encode_utf16().collect(),
            3 => self.serial.encode_utf16().collect(),
            _ => return None,
        };
        let bytes: Vec<u8> = units
            .into_iter()
            .take(64)
            .flat_map(u16::to_le_bytes)
            .collect();
        let len = u8::try_from(bytes.len() + 2).unwrap_or(u8::MAX);
        Some([vec![len, STRING], bytes].concat())
    }
}

/// The descriptor of a HID device whose report descriptor has so many bytes.
pub(super) fn hid(report: &[u8]) -> Vec<u8> {
    let [low, high] = u16::try_from(report.len())
        .unwrap_or(u16::MAX)
        .to_le_bytes();
    vec![9, HID, 0x11, 0x01, 0, 1, REPORT, low, high]
}
