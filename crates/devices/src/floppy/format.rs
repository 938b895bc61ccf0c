//! Formats of floppy disks, by their length.

pub(super) const SECTOR: u64 = 512;

/// How a disk is divided: two or one heads, cylinders, sectors of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub cylinders: u8,
    pub heads: u8,
    pub sectors: u8,
    /// The drive that reads it, as the CMOS has it.
    pub drive: u8,
}

const DRIVE_360K: u8 = 1;
const DRIVE_1200K: u8 = 2;
const DRIVE_720K: u8 = 3;
const DRIVE_1440K: u8 = 4;
const DRIVE_2880K: u8 = 5;

/// Cylinders, heads, sectors, drive.
const FORMATS: [(u8, u8, u8, u8); 10] = [
    (80, 2, 18, DRIVE_1440K),
    (80, 2, 36, DRIVE_2880K),
    (80, 2, 15, DRIVE_1200K),
    (80, 2, 9, DRIVE_720K),
    (80, 2, 21, DRIVE_1440K),
    (82, 2, 21, DRIVE_1440K),
    (40, 2, 9, DRIVE_360K),
    (40, 2, 8, DRIVE_360K),
    (40, 1, 9, DRIVE_360K),
    (40, 1, 8, DRIVE_360K),
];

impl Format {
    /// Of an image of `len` bytes. One of another length, up to 2.88 MB, is the beginning of a disk.
    #[must_use]
    pub fn of(len: u64) -> Option<Format> {
        let all = FORMATS
            .iter()
            .map(|&(cylinders, heads, sectors, drive)| Format {
                cylinders,
                heads,
                sectors,
                drive,
            });
        let exact = all.clone().find(|format| format.len() == len);
        exact.or_else(|| {
            all.clone()
                .take(2)
                .find(|format| (1..format.len()).contains(&len))
        })
    }

    /// Bytes.
    #[must_use]
    pub fn len(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors) * SECTOR
    }

    /// No format is of nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        false
    }

    /// Where a sector begins, if it is there. Sectors count from one.
    pub(super) fn offset(self, cylinder: u8, head: u8, sector: u8) -> Option<u64> {
        let there =
            cylinder < self.cylinders && head < self.heads && (1..=self.sectors).contains(&sector);
        let track = u64::from(cylinder) * u64::from(self.heads) + u64::from(head);
        there.then(|| (track * u64::from(self.sectors) + u64::from(sector) - 1) * SECTOR)
    }
}
