//! A TPM: registers in any order, states, and an swtpm that says whatever it likes.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use devices::Device;
use devices::tpm::{Backend, Blobs, Swtpm, Tpm};
use devices::virtio::Doorbell;

use crate::Input;

/// More would fill the sockets that nobody reads.
const STEPS: usize = 100;

/// An swtpm that has power, has said all of this already, says no more and hears nothing; and its ends.
fn said(data: &[u8], control: &[u8]) -> (Swtpm, [UnixStream; 2]) {
    let [(ours, mut theirs), (controls, mut controlled)] =
        [(); 2].map(|()| UnixStream::pair().expect("sockets"));
    let mut client = Swtpm::new(ours.into(), controls.into());
    // That it has power, and then what it likes.
    end(&mut controlled, &[&[0; 4], control].concat());
    client.power_on().expect("a TPM with power");
    end(&mut theirs, data);
    (client, [theirs, controlled])
}

fn end(socket: &mut UnixStream, words: &[u8]) {
    socket.write_all(words).expect("room in a socket");
    socket.shutdown(Shutdown::Write).expect("a socket");
}

pub(crate) fn tpm(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let parts = [input.byte(), input.byte()].map(|count| {
        let count = usize::from(count) * 8;
        (0..count).map(|_| input.byte()).collect::<Vec<u8>>()
    });
    let (mut client, _ends) = said(&parts[0], &parts[1]);
    if input.byte() & 1 == 0 {
        protocol(&mut client, &mut input);
    } else {
        registers(Tpm::new(client).expect("a thread"), &mut input);
    }
}

fn protocol(client: &mut Swtpm, input: &mut Input<'_>) {
    let hurry = Doorbell::new().expect("a descriptor");
    for _ in 0..STEPS {
        if input.is_empty() {
            return;
        }
        match input.byte() & 3 {
            0 => drop(client.power_on()),
            1 => {
                let command = [0x80, 1, 0, 0, 0, 10, 0, 0, 1, input.byte()];
                if let Ok(answer) = client.execute(&command, &hurry) {
                    assert!((10..=devices::tpm::BUFFER_LEN).contains(&answer.len()));
                }
            }
            2 => drop(client.save()),
            _ => drop(client.restore(&Blobs {
                permanent: vec![input.byte(); 5],
                volatile: Vec::new(),
            })),
        }
    }
}

fn registers(mut tpm: Tpm, input: &mut Input<'_>) {
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let what = input.byte();
        let size = [1, 2, 4, 8][usize::from(what >> 6)];
        let offset = u64::from(input.u16() & 0xfff);
        match what & 15 {
            0..=2 => tpm.write(offset, size, input.number()),
            3..=5 => tpm.write(0x80 + (offset & 15), size, input.number()),
            6 => tpm.write(0x08, 4, u64::from(input.byte())),
            7 | 8 => tpm.write(0x4c, 4, 1),
            9 => tpm.write(0x40, 4, u64::from(input.byte())),
            10 => tpm.reset(),
            11 => tpm.wake(),
            12 => {
                let mut state = tpm.save();
                if let Some(byte) = state.bytes.get_mut(usize::from(input.u16())) {
                    *byte ^= input.byte();
                }
                drop(tpm.restore(&state));
            }
            _ => drop(tpm.read(offset, size)),
        }
    }
    tpm.settle();
    assert_eq!(tpm.read(0x4c, 4), 0);
}
