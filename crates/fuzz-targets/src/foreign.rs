//! Images of other hypervisors' formats that lie.

use block::Format;

use crate::Input;

const BLOCK: usize = 4096;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A vdi of three blocks: data, zeros, nothing.
fn vdi() -> Vec<u8> {
    let mut image = vec![0; 3 * BLOCK];
    put(&mut image, 64, &0xbeda_107f_u32.to_le_bytes());
    put(&mut image, 68, &0x0001_0001_u32.to_le_bytes());
    for (at, value) in [(76, 1u32), (340, 512), (344, 4096), (376, 4096), (384, 3)] {
        put(&mut image, at, &value.to_le_bytes());
    }
    put(&mut image, 368, &(3 * BLOCK as u64).to_le_bytes());
    put(&mut image, 512, &0u32.to_le_bytes());
    put(&mut image, 516, &(u32::MAX - 1).to_le_bytes());
    put(&mut image, 520, &u32::MAX.to_le_bytes());
    image
}

fn with_vhd_sum(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    put(&mut bytes, at, &(!sum).to_be_bytes());
    bytes
}

/// A dynamic vhd of two blocks, one of which is there.
fn vhd() -> Vec<u8> {
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix");
    put(&mut footer, 16, &512u64.to_be_bytes());
    put(&mut footer, 48, &(2 * BLOCK as u64).to_be_bytes());
    put(&mut footer, 60, &3u32.to_be_bytes());
    let mut header = vec![0; 1024];
    put(&mut header, 0, b"cxsparse");
    put(&mut header, 16, &1536u64.to_be_bytes());
    put(&mut header, 28, &2u32.to_be_bytes());
    put(&mut header, 32, &4096u32.to_be_bytes());
    let footer = with_vhd_sum(footer, 64);
    let mut image = footer.clone();
    image.extend(with_vhd_sum(header, 36));
    image.extend(4u32.to_be_bytes());
    image.extend(u32::MAX.to_be_bytes());
    image.resize(2048 + 512 + BLOCK, 0xff);
    image.extend(footer);
    image
}

/// A sparse vmdk with one table, one grain of which is there.
fn vmdk() -> Vec<u8> {
    let mut image = vec![0; 16 * 512];
    put(&mut image, 0, b"KDMV\x01\0\0\0");
    for (at, value) in [(12, 64u64), (20, 8), (28, 1), (36, 1), (56, 2)] {
        put(&mut image, at, &value.to_le_bytes());
    }
    put(&mut image, 44, &8u32.to_le_bytes());
    put(
        &mut image,
        512,
        b"# Disk DescriptorFile\nparentCID=ffffffff\nRW 64 SPARSE \"image\"\n",
    );
    put(&mut image, 1024, &3u32.to_le_bytes());
    put(&mut image, 1536, &8u32.to_le_bytes());
    image
}

const DESCRIPTOR: &[u8] =
    b"# Disk DescriptorFile\nparentCID=ffffffff\nRW 64 ZERO\nRW 8 FLAT \"flat\" 0\n";

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

/// A vhdx of two blocks of 1 MiB, none of which is there.
fn vhdx() -> Vec<u8> {
    const KIB: usize = 1 << 10;
    const METADATA: usize = 320 * KIB;
    const TABLE: usize = 384 * KIB;
    let mut image = vec![0; TABLE + BLOCK];
    put(&mut image, 0, b"vhdxfile");
    let header = 64 * KIB;
    put(&mut image, header, b"head");
    put(&mut image, header + 66, &[1]);
    let sum = crc32c(&image[header..header + 4 * KIB]);
    put(&mut image, header + 4, &sum.to_le_bytes());
    let regions = 192 * KIB;
    put(&mut image, regions, b"regi");
    put(&mut image, regions + 8, &2u32.to_le_bytes());
    let bat = 0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08_u128;
    let metadata = 0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e_u128;
    for (number, (id, at)) in [(bat, TABLE), (metadata, METADATA)].into_iter().enumerate() {
        let entry = regions + 16 + number * 32;
        put(&mut image, entry, &guid(id));
        put(&mut image, entry + 16, &(at as u64).to_le_bytes());
        put(&mut image, entry + 24, &4096u32.to_le_bytes());
    }
    let sum = crc32c(&image[regions..regions + 64 * KIB]);
    put(&mut image, regions + 4, &sum.to_le_bytes());
    put(&mut image, METADATA, b"metadata");
    put(&mut image, METADATA + 10, &3u16.to_le_bytes());
    let items = [
        (0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b_u128, 1u64 << 20),
        (0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8, 2 << 20),
        (0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f, 512),
    ];
    for (number, (id, value)) in items.into_iter().enumerate() {
        let (entry, at) = (METADATA + 32 + number * 32, 1024 + number * 8);
        put(&mut image, entry, &guid(id));
        put(
            &mut image,
            entry + 16,
            &u32::try_from(at).unwrap_or(0).to_le_bytes(),
        );
        put(&mut image, METADATA + at, &value.to_le_bytes());
    }
    image
}

/// As it lies in a file: the first three fields little-endian.
fn guid(id: u128) -> [u8; 16] {
    let mut bytes = id.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

/// A valid image with damage; the first byte says of which format, or that the rest is one.
pub(crate) fn foreign(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (format, mut image) = match input.byte() % 6 {
        0 => (Format::Vdi, vdi()),
        1 => (Format::Vhd, vhd()),
        2 => (Format::Vhdx, vhdx()),
        3 => (Format::Vmdk, vmdk()),
        4 => (Format::Vmdk, DESCRIPTOR.to_vec()),
        _ => {
            let rest = bytes.get(1..).unwrap_or_default();
            let _ = block::check_foreign(rest, Format::Vmdk);
            return;
        }
    };
    // Where the tables of a vhdx are.
    let window = if format == Format::Vhdx { 320 << 10 } else { 0 };
    while !input.is_empty() {
        let at = window + usize::from(input.u16());
        let at = at % image.len();
        let value = input.number().to_le_bytes();
        let len = (usize::from(input.byte() & 7) + 1).min(image.len() - at);
        put(&mut image, at, &value[..len]);
    }
    let _ = block::check_foreign(&image, format);
}

/// Each of the valid images, without damage.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    (0..5).map(|format| vec![format]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_valid() {
        for (format, image) in [
            (Format::Vdi, vdi()),
            (Format::Vhd, vhd()),
            (Format::Vhdx, vhdx()),
            (Format::Vmdk, vmdk()),
        ] {
            block::check_foreign(&image, format).unwrap();
        }
    }
}
