//! NBD clients and servers that say anything.

use std::io::{self, Cursor, Read, Write};

use crate::disk::MemoryDisk;

/// The other side: what it says, and what it is told is thrown away.
struct Other<'a>(Cursor<&'a [u8]>);

impl Read for Other<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Other<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first byte says which side the input is.
pub(crate) fn nbd(bytes: &[u8]) {
    let Some((&side, rest)) = bytes.split_first() else {
        return;
    };
    if side & 1 == 0 {
        let disk = MemoryDisk::new(64 << 10);
        let _ = block::serve_connection(&mut Other(Cursor::new(rest)), &disk);
    } else {
        let _ = block::check_nbd_server(rest);
    }
}

/// A client that reads and writes, and a server that answers twice.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let go = |kind: u16, len: u32, data: &[u8]| {
        let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0; 16]);
        bytes.extend(len.to_be_bytes());
        bytes.extend(data);
        bytes
    };
    let mut client = vec![0, 0, 0, 0, 3];
    client.extend(b"IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0");
    for request in [
        go(1, 4, b"data"),
        go(0, 512, b""),
        go(6, 512, b""),
        go(3, 0, b""),
    ] {
        client.extend(request);
    }
    let mut server = vec![1];
    server.extend(b"NBDMAGICIHAVEOPT\0\x03");
    let reply = |kind: u32, data: &[u8]| {
        let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
        bytes.extend(7u32.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
        bytes.extend(data);
        bytes
    };
    server.extend(reply(3, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x7d]));
    server.extend(reply(1, &[]));
    for _ in 0..2 {
        server.extend(0x6744_6698_u32.to_be_bytes());
        server.extend([0, 0, 0, 0]);
        server.extend(0x696e_6e6b_u64.to_be_bytes());
        server.extend([7; 4096]);
    }
    vec![client, server]
}
