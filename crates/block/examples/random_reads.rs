//! 4 KiB reads at random places of an image, and a sequential pass: `random_reads IMAGE SECONDS`.

use std::time::{Duration, Instant};

use block::{DiskOptions, Format};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("an image is wanted")?;
    let seconds: u64 = arguments.next().unwrap_or_default().parse().unwrap_or(2);
    let disk = block::open(&DiskOptions {
        path: path.into(),
        format: Format::Probe,
        read_only: true,
        ..DiskOptions::default()
    })?;
    let blocks = disk.len() / 4096;
    let (mut state, mut count) = (0x9e37_79b9_7f4a_7c15_u64, 0u64);
    let mut buffer = vec![0; 4096];
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..1000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            disk.read_at(&mut buffer, state % blocks * 4096)?;
        }
        count += 1000;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    let mut buffer = vec![0; 128 << 10];
    let began = Instant::now();
    let step = buffer.len() as u64;
    for offset in (0..disk.len() / step).map(|piece| piece * step) {
        disk.read_at(&mut buffer, offset)?;
    }
    let sequential = disk.len() as f64 / began.elapsed().as_secs_f64() / f64::from(1 << 20);
    println!("{rate:.0} random 4 KiB reads/s, {sequential:.0} MiB/s sequential");
    Ok(())
}
