#![allow(clippy::cast_possible_truncation, reason = "test values are small")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::testing::{TestDirectory, bytes_of, empty_qcow2, pattern, read_all};
use crate::{BlockDevice, Qcow2Disk, RawDisk};

#[test]
fn addresses_are_what_they_say() {
    let tcp = |host: &str, port, export: &str| NbdAddress::Tcp {
        host: host.into(),
        port,
        export: export.into(),
    };
    for (uri, wanted) in [
        ("nbd://host", tcp("host", 10809, "")),
        ("nbd://host:1/a%20b", tcp("host", 1, "a b")),
        ("nbd://[::1]:7/x", tcp("::1", 7, "x")),
        ("nbd://[::1]", tcp("::1", 10809, "")),
        (
            "nbd+unix:///x?socket=/run/nbd",
            NbdAddress::Unix {
                socket: PathBuf::from("/run/nbd"),
                export: "x".into(),
            },
        ),
    ] {
        assert_eq!(NbdAddress::parse(uri).unwrap(), wanted);
    }
    for uri in [
        "nbd://",
        "nbd://host:port",
        "nbd://[::1",
        "nbd+unix:///x",
        "nbd+unix:///x?socket=",
        "nbd://host/%zz",
        "http://x",
    ] {
        let error = NbdAddress::parse(uri).unwrap_err();
        assert!(error.to_string().contains(uri), "{error}");
    }
}

/// Serves `disk` on a socket until the answer is dropped.
struct Served {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    socket: PathBuf,
}

impl Served {
    fn new(directory: &TestDirectory, disk: Arc<dyn BlockDevice>) -> Served {
        let socket = directory.path("socket");
        let server = NbdServer::on_socket(&socket, disk).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) || server.clients() > 0 {
                server.accept().unwrap();
            }
        });
        Served {
            stop,
            thread: Some(thread),
            socket,
        }
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_client_has_what_is_served() {
    let directory = TestDirectory::new();
    let path = empty_qcow2(&directory, "image");
    let served = Served::new(&directory, Arc::new(Qcow2Disk::open(&path, false).unwrap()));
    let mut expected = vec![0; 1 << 20];
    {
        let disk = NbdDisk::connect(&served.uri()).unwrap();
        assert_eq!((disk.len(), disk.read_only()), (1 << 20, false));
        let data = pattern(300_000, 1);
        disk.write_at(&data, 1000).unwrap();
        expected[1000..301_000].copy_from_slice(&data);
        disk.write_zeroes(2000, 70_000, true).unwrap();
        expected[2000..72_000].fill(0);
        disk.discard(131_072, 65_536).unwrap();
        expected[131_072..196_608].fill(0);
        disk.flush().unwrap();
        assert!(read_all(&disk) == expected);
        let error = disk.read_at(&mut [0; 512], 1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    drop(served);
    assert!(read_all(&Qcow2Disk::open(&path, true).unwrap()) == expected);
}

#[test]
fn a_read_only_export_is_not_written() {
    let directory = TestDirectory::new();
    let path = directory.file("raw", &[7; 4096]);
    let served = Served::new(&directory, Arc::new(RawDisk::open(&path, true).unwrap()));
    let disk = NbdDisk::connect(&served.uri()).unwrap();
    assert!(disk.read_only());
    disk.write_at(&[1; 512], 0).unwrap_err();
    let other = NbdDisk::connect(&served.uri().replace("/?", "/other?")).unwrap_err();
    assert!(other.to_string().contains("cannot use"), "{other}");
    drop(disk);
}

/// Is the program here? Says so when it is not.
fn is_here(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if found.is_err() {
        eprintln!("SKIPPED: the comparison with {program}, which cannot be run");
    }
    found.is_ok()
}

#[test]
fn libnbds_tools_have_what_is_served() {
    if !is_here("nbdinfo") || !is_here("nbdcopy") {
        return;
    }
    let directory = TestDirectory::new();
    let data = pattern(1 << 20, 4);
    let source = directory.file("source", &data);
    let path = empty_qcow2(&directory, "image");
    {
        let disk = Arc::new(Qcow2Disk::open(&path, false).unwrap());
        let served = Served::new(&directory, disk);
        let info = Command::new("nbdinfo").arg(served.uri()).output().unwrap();
        let text = String::from_utf8_lossy(&info.stdout).into_owned();
        assert!(info.status.success(), "{text}");
        for wanted in ["export-size: 1048576", "can_fua: true", "can_trim: true"] {
            assert!(text.contains(wanted), "{text}");
        }
        let copied = Command::new("nbdcopy")
            .arg("--flush")
            .arg(&source)
            .arg(served.uri())
            .status();
        assert!(copied.unwrap().success());
        let back = directory.path("back");
        let copied = Command::new("nbdcopy")
            .arg(served.uri())
            .arg(&back)
            .status();
        assert!(copied.unwrap().success());
        assert!(bytes_of(&back) == data);
    }
    assert!(read_all(&Qcow2Disk::open(&path, true).unwrap()) == data);
}

/// qemu-nbd, which is ended with the test.
struct QemuNbd(Child);

impl QemuNbd {
    fn new(socket: &Path, arguments: &[&str], image: &Path) -> QemuNbd {
        let child = Command::new("qemu-nbd")
            .args(["--persistent", "--socket"])
            .arg(socket)
            .args(arguments)
            .arg(image)
            .spawn()
            .unwrap();
        let mut server = QemuNbd(child);
        while UnixStream::connect(socket).is_err() {
            assert!(server.0.try_wait().unwrap().is_none(), "qemu-nbd has ended");
            thread::yield_now();
        }
        server
    }
}

impl Drop for QemuNbd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_qemu_nbd_serves_is_a_disk() {
    if !is_here("qemu-nbd") {
        return;
    }
    let directory = TestDirectory::new();
    let mut data = pattern(3 << 20, 4);
    let image = directory.file("image", &data);
    let socket = directory.path("qemu");
    let uri = format!("nbd+unix:///x?socket={}", socket.display());
    {
        let _server = QemuNbd::new(&socket, &["-f", "raw", "-x", "x"], &image);
        let disk = NbdDisk::connect(&uri).unwrap();
        assert!(read_all(&disk) == data);
        disk.write_at(&[9; 70_000], 12_345).unwrap();
        data[12_345..82_345].fill(9);
        disk.write_zeroes(1 << 20, 1 << 20, true).unwrap();
        data[1 << 20..2 << 20].fill(0);
        disk.flush().unwrap();
        assert!(read_all(&disk) == data);
        // It takes one client at a time.
        drop(disk);
        let missing = NbdDisk::connect(&uri.replace("/x?", "/y?")).unwrap_err();
        assert!(missing.to_string().contains("cannot use"), "{missing}");
    }
    assert!(bytes_of(&image) == data);
    std::fs::remove_file(&socket).unwrap_or(());
    let disk = {
        let _server = QemuNbd::new(&socket, &["-f", "raw", "-x", "x", "-r"], &image);
        let disk = NbdDisk::connect(&uri).unwrap();
        assert!(disk.read_only());
        disk.write_at(&[1; 512], 0).unwrap_err();
        disk
    };
    // Its server has gone: errors, not waiting.
    disk.read_at(&mut [0; 512], 0).unwrap_err();
    let error = disk.read_at(&mut [0; 512], 0).unwrap_err();
    assert!(error.to_string().contains("lost"), "{error}");
}

/// One end is what a test says, the other is thrown away.
struct Script(io::Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn servers_that_talk_nonsense_are_refused() {
    let greeting = b"NBDMAGICIHAVEOPT\0\x01";
    let ack = [
        &0x0003_e889_0455_65a9_u64.to_be_bytes()[..],
        &[0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0],
    ];
    for (bytes, complaint) in [
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "greeting"),
        (b"NBDMAGICIHAVEOPT\0\0".to_vec(), "long ago"),
        ([&greeting[..], &[0; 20]].concat(), "not asked"),
        ([&greeting[..], &ack.concat()].concat(), "no size"),
    ] {
        let stream = Box::new(Script(io::Cursor::new(bytes)));
        let error = NbdDisk::over(stream, "", "x".into()).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
}
