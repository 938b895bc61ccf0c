//! Runs every target over its corpus and some inputs at random, in a few seconds each, so that a
//! target that no longer works is noticed. `FUZZ_SECONDS` and `FUZZ_SEED` make it a small fuzzer of
//! its own, for hosts without libFuzzer; with `FUZZ_KEEP` each input lies in a file while it runs,
//! and `FUZZ_INPUT` runs the file of that name alone.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fuzz_targets::{TARGETS, Target};

/// xorshift64*: the same inputs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What gets far, what once went wrong, and what the fuzzer found on this machine.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut inputs = (target.seeds)();
    for folder in ["seeds", "corpus"] {
        let files = fs::read_dir(fuzz.join(folder).join(target.name));
        let files = files.into_iter().flatten().flatten();
        inputs.extend(files.filter_map(|file| fs::read(file.path()).ok()));
    }
    inputs
}

/// Changes some bytes, cuts, repeats, or begins anew.
fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    if corpus.is_empty() || random.below(4) == 0 {
        let len = random.below(2048);
        return random.bytes(len);
    }
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(4) {
            0 => input.truncate(at),
            1 => {
                let len = random.below(32);
                let bytes = random.bytes(len);
                input.splice(at..at, bytes);
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.next().to_le_bytes()[3];
                }
            }
        }
    }
    input
}

fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target of this name");
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(2));
    let mut random = Random(number("FUZZ_SEED").unwrap_or(1) | 1);
    let kept = number("FUZZ_KEEP").is_some();
    if let Ok(path) = std::env::var("FUZZ_INPUT") {
        return (target.run)(&fs::read(path).expect("the input"));
    }
    let inputs = corpus(target);
    let start = Instant::now();
    for input in inputs.iter().take_while(|_| start.elapsed() < 4 * time) {
        (target.run)(input);
    }
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        let input = mutate(&mut random, &inputs);
        if kept {
            // What was run last is what crashed the process.
            let path = std::env::temp_dir().join(format!("fuzz-{name}"));
            fs::write(path, &input).expect("a writable directory");
        }
        (target.run)(&input);
        count += 1;
    }
    println!("{name}: {} of the corpus, {count} at random", inputs.len());
}

macro_rules! smoke {
    ($($function:ident $name:literal),* $(,)?) => {
        $(#[test] fn $function() { smoke($name); })*

        #[test]
        fn every_target_is_tested() {
            let tested = [$($name),*];
            assert!(TARGETS.iter().all(|target| tested.contains(&target.name)));
        }
    };
}

smoke! {
    interpreter "interpreter",
    interpreter_smp "interpreter-smp",
    cpu_state "cpu-state",
    lockstep "lockstep",
    inherited_code "inherited-code",
    kernels "kernels",
    qcow2 "qcow2",
    foreign_disks "foreign-disks",
    nbd "nbd",
    page_requests "page-requests",
    late_pages "late-pages",
    block_requests "block-requests",
    hot_plug "hot-plug",
    virtio_devices "virtio-devices",
    pci "pci",
    device_registers "device-registers",
    device_states "device-states",
    interrupts "interrupts",
    saved_machine "saved-machine",
    folder "folder",
    user_network "user-network",
    shared_network "shared-network",
    gpu_commands "gpu-commands",
    bridged_network "bridged-network",
    firewall "firewall",
    vga "vga",
    vsock "vsock",
    disk_controller "disk-controller",
    nvme "nvme",
    ahci "ahci",
    xhci "xhci",
    uhci "uhci",
    ethernet_cards "ethernet-cards",
    sound "sound",
    sound_blaster "sound-blaster",
    virtio_sound "virtio-sound",
    tpm "tpm",
    fw_cfg "fw-cfg",
    migration "migration",
    chipset "chipset",
}
