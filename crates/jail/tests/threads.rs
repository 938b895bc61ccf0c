//! Code that has escaped from a guest into a thread of each kind, and what it can not do there that
//! its process may.

mod calls_raw;
mod play;

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;

use calls_raw::call;
use jail::{Needs, Work, narrow};
use play::{jailed_with, own, refused};

const ALL: [Work; 7] = [
    Work::Desk,
    Work::Processor,
    Work::Device,
    Work::Network,
    Work::Folder,
    Work::Sockets,
    Work::Pager,
];

/// In a process that has all that any guest has: its files, folders and a network.
fn with_all(directory: &Path) -> Needs {
    Needs {
        read: vec!["/proc/self".into()],
        folders: vec![directory.to_owned()],
        has_folders: true,
        network: true,
        ..own(directory)
    }
}

/// Plays `escaped` in a thread of each kind, one process each.
fn in_each(test: &str, escaped: impl Fn(Work, &Path) + Sync) {
    jailed_with(test, with_all, |directory, _| {
        fs::write(directory.join("file"), "x").unwrap();
        for work in ALL {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    narrow(work).unwrap();
                    escaped(work, directory);
                });
                assert!(thread.join().is_ok(), "{work:?}");
            });
        }
        // The others are as they were.
        assert!(TcpListener::bind("127.0.0.1:0").is_ok());
    });
}

/// Whether that is done exactly by those who work at one of `by`.
fn only<T>(work: Work, by: &[Work], what: &str, done: std::io::Result<T>) {
    match done {
        Ok(_) => assert!(by.contains(&work), "{work:?} can {what}"),
        Err(error) => {
            let why = error.kind();
            assert!(!by.contains(&work), "{work:?} cannot {what}: {why}");
            assert_eq!(
                why,
                std::io::ErrorKind::PermissionDenied,
                "{work:?}: {what}"
            );
        }
    }
}

#[test]
fn files_are_for_those_who_work_with_names() {
    let names = [Work::Desk, Work::Network, Work::Folder];
    in_each("files_are_for_those_who_work_with_names", |work, own| {
        only(work, &names, "open a file", File::open(own.join("file")));
        only(
            work,
            &names,
            "write a file",
            fs::write(own.join("new"), "x"),
        );
        let moved = fs::rename(own.join("file"), own.join("other"));
        only(work, &names, "rename a file", moved);
        let _ = fs::rename(own.join("other"), own.join("file"));
        let made = fs::create_dir(own.join("directory"));
        // By mkdir(2), which nobody has.
        only(work, &[], "make a directory", made);
        assert!(refused(File::open("/etc/passwd")), "{work:?}");
        assert!(refused(File::open("/proc/1/mem")), "{work:?}");
    });
}

#[test]
fn sockets_are_for_those_who_work_with_connections() {
    let name = "sockets_are_for_those_who_work_with_connections";
    in_each(name, |work, own| {
        let internet = [Work::Network];
        let listener = TcpListener::bind("127.0.0.1:0");
        only(work, &internet, "make a TCP socket", listener);
        let socket = UdpSocket::bind("127.0.0.1:0");
        only(work, &internet, "make a UDP socket", socket);
        let pairs = [Work::Desk, Work::Network, Work::Sockets];
        only(work, &pairs, "make a pair", UnixDatagram::pair());
        only(
            work,
            &[],
            "connect by path",
            UnixStream::connect(own.join("x")),
        );
    });
}

#[test]
fn nobody_can_start_anything_or_reach_other_processes() {
    let name = "nobody_can_start_anything_or_reach_other_processes";
    in_each(name, |work, _| {
        assert!(refused(Command::new("/bin/true").status()), "{work:?}");
        let parent = std::os::unix::process::parent_id().cast_signed();
        for (what, number, first, second) in [
            ("signal", libc::SYS_kill, parent, libc::SIGTERM),
            (
                "trace",
                libc::SYS_ptrace,
                libc::PTRACE_ATTACH.cast_signed(),
                parent,
            ),
            ("open a process", libc::SYS_pidfd_open, parent, 0),
            (
                "read another's memory",
                libc::SYS_process_vm_readv,
                parent,
                0,
            ),
            (
                "leave namespaces",
                libc::SYS_unshare,
                libc::CLONE_NEWUSER,
                0,
            ),
            ("mount", libc::SYS_fsopen, 0, 0),
            ("program the kernel", libc::SYS_bpf, 0, 0),
            ("change users", libc::SYS_setuid, 0, 0),
        ] {
            let done = call(number, first, second);
            assert_eq!(done, Err(libc::EPERM), "{work:?} can {what}");
        }
    });
}

#[test]
fn threads_are_made_by_few_and_never_have_more() {
    let name = "threads_are_made_by_few_and_never_have_more";
    in_each(name, |work, own| {
        let made = std::thread::Builder::new().spawn({
            let file = own.join("file");
            move || File::open(file).is_ok()
        });
        only(work, &[Work::Desk], "make a thread", made);
        // As fork(3) asks for it. The desk may: so a guest is saved while it goes on.
        if work != Work::Desk {
            let flags = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
            assert_eq!(
                call(libc::SYS_clone, flags, 0),
                Err(libc::EPERM),
                "{work:?}"
            );
        }
        // Who gives up more, has no more for that.
        let _ = narrow(Work::Network);
        only(
            work,
            &[Work::Network],
            "make a socket",
            UdpSocket::bind("127.0.0.1:0"),
        );
    });
}

#[test]
fn devices_are_controlled_by_those_who_have_them() {
    let name = "devices_are_controlled_by_those_who_have_them";
    in_each(name, |work, _| {
        let file = std::io::stderr();
        // KVM_RUN, UFFDIO_COPY, and TIOCSTI.
        let kvm = call(libc::SYS_ioctl, file.as_raw_fd(), 0xae80);
        let may = [Work::Desk, Work::Processor].contains(&work);
        assert_eq!(kvm == Err(libc::EPERM), !may, "{work:?}");
        // KVM_IRQ_LINE and KVM_SIGNAL_MSI: every device interrupts.
        for interrupt in [0x4008_ae61, 0x4020_aea5] {
            let done = call(libc::SYS_ioctl, file.as_raw_fd(), interrupt);
            assert_eq!(done == Err(libc::EPERM), work == Work::Pager, "{work:?}");
        }
        let copied = call(
            libc::SYS_ioctl,
            file.as_raw_fd(),
            0xc028_aa03_u32.cast_signed(),
        );
        assert_eq!(copied == Err(libc::EPERM), work != Work::Pager, "{work:?}");
        // VHOST_SET_MEM_TABLE, VHOST_NET_SET_BACKEND, and VHOST_SET_LOG_BASE.
        let begun = call(libc::SYS_ioctl, file.as_raw_fd(), 0x4008_af03);
        assert_eq!(begun == Err(libc::EPERM), work != Work::Network, "{work:?}");
        let ended = call(libc::SYS_ioctl, file.as_raw_fd(), 0x4008_af30);
        let may = [Work::Network, Work::Processor].contains(&work);
        assert_eq!(ended == Err(libc::EPERM), !may, "{work:?}");
        let logged = call(libc::SYS_ioctl, file.as_raw_fd(), 0x4008_af04);
        assert_eq!(logged, Err(libc::EPERM), "{work:?}");
        let typed = call(libc::SYS_ioctl, file.as_raw_fd(), 0x5412);
        assert_eq!(typed, Err(libc::EPERM), "{work:?}");
    });
}
