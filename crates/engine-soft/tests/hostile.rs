//! Guests that try to keep their host's thread for ever.

use std::time::Duration;

use engine::{Engine, Entry, Exit, Vcpu};
use engine_soft::SoftEngine;
use engine_tests::{Image, Mode};
use memory::{Gpa, GuestMemory, RamRange};
use x86::cpuid::CpuidTable;

fn guest(mode: Mode, code: &[u8]) -> Box<dyn Vcpu> {
    let ram = RamRange {
        base: Gpa(0),
        len: 0x20_0000,
    };
    let memory = GuestMemory::new(&[ram]).expect("RAM");
    let image = Image {
        mode,
        code: code.to_vec(),
    };
    image.load(&memory).expect("room");
    let mut vcpu = SoftEngine::new(memory)
        .create_vcpu(0, &CpuidTable::default())
        .expect("a vCPU");
    vcpu.set_state(&image.state()).expect("valid");
    vcpu
}

#[test]
fn alignment_checks_that_never_end_can_be_interrupted() {
    // IDT[#AC].selector = ring 3 code; CR0.AM; iret to ring 3 with AC set and a stack at 18001h,
    // where every push of the #AC handler's frame is an #AC itself; mov eax, [esp]
    let code = [
        0x66, 0xc7, 0x05, 0x8a, 0x70, 0x00, 0x00, 0x33, 0x00, 0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00,
        0x04, 0x00, 0x0f, 0x22, 0xc0, 0x6a, 0x23, 0x68, 0x01, 0x80, 0x01, 0x00, 0x68, 0x02, 0x02,
        0x04, 0x00, 0x6a, 0x33, 0x68, 0x28, 0x80, 0x00, 0x00, 0xcf, 0x8b, 0x04, 0x24,
    ];
    let mut vcpu = guest(Mode::Protected32, &code);
    let kick = vcpu.kick();
    let kicker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        kick.kick();
    });
    assert_eq!(vcpu.run(Entry::Resume).expect("runs"), Exit::Interrupted);
    kicker.join().expect("no panic");
    assert_eq!(vcpu.state().expect("a state").rip, 0x8028);
}
