use super::*;
use crate::{EventAddress, EventFd};
use engine::{Entry, Exit};
use engine_tests::{Bench, Image, Mode};
use memory::RamRange;

fn has_kvm() -> bool {
    let opened = Kvm::new();
    if let Err(error) = &opened {
        println!("skipped: /dev/kvm cannot be opened: {error}");
    }
    opened.is_ok()
}

fn ram(base: u64, len: u64) -> GuestMemory {
    GuestMemory::new(&[RamRange {
        base: Gpa(base),
        len,
    }])
    .unwrap()
}

#[test]
fn ram_over_the_reserved_pages_is_refused() {
    assert!(check_reserved(&ram(0xfef0_0000, 0x20_0000)).is_err());
    assert!(check_reserved(&ram(0, 0x20_0000)).is_ok());
    assert!(check_reserved(&ram(0x1_0000_0000, 0x20_0000)).is_ok());
}

#[test]
fn irqfds_get_numbers_of_their_own_and_give_them_back() {
    if !has_kvm() {
        return;
    }
    let engine = KvmEngine::new(ram(0, 0x10_0000)).unwrap();
    let message = MsiMessage {
        address: 0xfee0_0000,
        data: 0x41,
    };
    let events = [EventFd::new(0).unwrap(), EventFd::new(0).unwrap()];
    let first = engine.irqfd(&events[0], message).unwrap();
    let second = engine.irqfd(&events[1], message).unwrap();
    assert_ne!(first, second);
    engine
        .change_irqfd(
            second,
            MsiMessage {
                data: 0x42,
                ..message
            },
        )
        .unwrap();
    engine.remove_irqfd(&events[0], first).unwrap();
    assert_eq!(engine.irqfd(&events[0], message).unwrap(), first);
}

#[test]
fn an_ioeventfd_takes_the_write_instead_of_us() {
    if !has_kvm() {
        return;
    }
    let engine = KvmEngine::new(ram(0, 0x20_0000)).unwrap();
    let event = EventFd::new(0).unwrap();
    engine
        .ioeventfd(&event, EventAddress::Port(0x510), Some(7))
        .unwrap();
    // mov dx, 0x510; mov ax, 7; out dx, ax; inc ax; out dx, ax
    let code = vec![0xba, 0x10, 0x05, 0xb8, 7, 0, 0xef, 0x40, 0xef, 0xe6, 0xf4];
    let image = Image {
        mode: Mode::Real16,
        code,
    };
    image.load(&engine.vm.memory).unwrap();
    let params = x86::cpuid::VcpuParams {
        id: 0,
        count: 1,
        tsc_khz: 0,
    };
    let host = x86::cpuid::HostCpuid::read();
    let table = x86::cpuid::table(&x86::cpuid::models()[0], &host, &params);
    let mut vcpu = engine.create_vcpu(0, &table).unwrap();
    vcpu.set_state(&image.state()).unwrap();
    let exit = vcpu.run(Entry::Resume).unwrap();
    assert_eq!(
        exit,
        Exit::PortWrite {
            port: 0x510,
            size: 2,
            value: 8
        }
    );
    assert_eq!(event.read().unwrap(), 1);
    engine
        .remove_ioeventfd(&event, EventAddress::Port(0x510), Some(7))
        .unwrap();
}

/// `set_state` in the middle of an access: the old access must not reach into the new state.
#[test]
fn a_new_state_forgets_the_access_under_way() {
    if !has_kvm() {
        return;
    }
    let make =
        |memory| -> Result<Box<dyn Engine>, EngineError> { Ok(Box::new(KvmEngine::new(memory)?)) };
    // in eax, 0x60; mov eax, [0xd0000000]; out 0xf4, al
    let code = vec![0xe5, 0x60, 0xa1, 0, 0, 0, 0xd0, 0xe6, 0xf4];
    let image = Image {
        mode: Mode::Protected32,
        code,
    };
    let mut bench = Bench::new(&make, &image).unwrap();
    let vcpu = bench.vcpu();
    for _ in 0..2 {
        assert_eq!(
            vcpu.run(Entry::Resume).unwrap(),
            Exit::PortRead {
                port: 0x60,
                size: 4
            }
        );
        vcpu.set_state(&image.state()).unwrap();
        assert_eq!(vcpu.state().unwrap().gpr, image.state().gpr);
    }
    vcpu.run(Entry::Resume).unwrap();
    let exit = vcpu.run(Entry::CompleteRead(0)).unwrap();
    assert_eq!(
        exit,
        Exit::MmioRead {
            gpa: Gpa(0xd000_0000),
            size: 4
        }
    );
    // Answered wrongly, it says so and can still be answered rightly.
    assert!(vcpu.run(Entry::Resume).is_err());
    assert!(vcpu.run(Entry::Inject(32)).is_err());
    let exit = vcpu.run(Entry::CompleteRead(0x99)).unwrap();
    assert_eq!(
        exit,
        Exit::PortWrite {
            port: 0xf4,
            size: 1,
            value: 0x99
        }
    );
}
