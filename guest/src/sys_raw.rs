//! The few system calls that rustix has no safe form of.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Blocks `signals` and returns a descriptor that is readable when one is pending. Children would
/// inherit that: [`lead_session`] unblocks all signals in each.
pub(crate) fn receive_signals(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: `set` is a local that sigemptyset initialises before it is read; signalfd gets a valid
    // set and a fresh descriptor that nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

/// A socket that hears what the kernel tells of devices. Spec: netlink(7), "NETLINK_KOBJECT_UEVENT".
pub(crate) fn kernel_events() -> io::Result<OwnedFd> {
    let len = size_of::<libc::sockaddr_nl>();
    let len = libc::socklen_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the descriptor is fresh and nobody else owns it; the address is plain data for which zero
    // is valid, lives here, and is as long as is said.
    unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let fd = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT);
        check(fd)?;
        let socket = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_nl = mem::zeroed();
        address.nl_family = NETLINK;
        // The kernel's own group.
        address.nl_groups = 1;
        check(libc::bind(fd, (&raw const address).cast(), len))?;
        Ok(socket)
    }
}

/// A connection to the host's end of vsock. Spec: vsock(7).
pub(crate) fn call_host(port: u32) -> io::Result<OwnedFd> {
    let len = size_of::<libc::sockaddr_vm>();
    let len = libc::socklen_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the descriptor is fresh and nobody else owns it; the address is plain data for which zero
    // is valid, lives here, and is as long as is said.
    unsafe {
        let fd = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        check(fd)?;
        let socket = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_vm = mem::zeroed();
        address.svm_family = VSOCK;
        address.svm_cid = libc::VMADDR_CID_HOST;
        address.svm_port = port;
        check(libc::connect(fd, (&raw const address).cast(), len))?;
        let flags = rustix::fs::fcntl_getfl(&socket)?;
        rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(socket)
    }
}

// Both flags are below 1 << 7, and C's short is what the kernel's structure has.
const UP: libc::c_short = 0x1 | 0x40; // IFF_UP | IFF_RUNNING
const INET: libc::sa_family_t = 2; // AF_INET
const VSOCK: libc::sa_family_t = 40; // AF_VSOCK
const NETLINK: libc::sa_family_t = 16; // AF_NETLINK
// Of linux/fs.h: _IOWR('X', 119, int) and _IOWR('X', 120, int).
const FREEZE: libc::Ioctl = 0xC004_5877;
const THAW: libc::Ioctl = 0xC004_5878;
const ROUTE_UP: libc::c_ushort = 0x1; // RTF_UP
const ROUTE_BY_GATEWAY: libc::c_ushort = 0x2; // RTF_GATEWAY

/// Sets the flag IFF_UP on an interface. Spec: netdevice(7), "SIOCSIFFLAGS".
pub(crate) fn interface_up(name: &str) -> io::Result<()> {
    request(name, libc::SIOCSIFFLAGS, |request| {
        request.ifr_ifru.ifru_flags = UP;
    })
}

/// Clears it. Spec: netdevice(7), "SIOCSIFFLAGS".
pub(crate) fn interface_down(name: &str) -> io::Result<()> {
    request(name, libc::SIOCSIFFLAGS, |request| {
        request.ifr_ifru.ifru_flags = 0;
    })
}

/// Spec: netdevice(7), "SIOCSIFHWADDR".
pub(crate) fn set_hardware_address(name: &str, address: [u8; 6]) -> io::Result<()> {
    let mut wanted = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: [0; 14],
    };
    for (to, from) in wanted.sa_data.iter_mut().zip(address) {
        *to = from.cast_signed();
    }
    request(name, libc::SIOCSIFHWADDR, |request| {
        request.ifr_ifru.ifru_hwaddr = wanted;
    })
}

/// Gives an interface its address. Spec: netdevice(7), "SIOCSIFADDR", "SIOCSIFNETMASK".
pub(crate) fn set_address(name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
    for (what, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        request(name, what, |request| {
            request.ifr_ifru.ifru_addr = socket_address(value)
        })?;
    }
    Ok(())
}

/// One request about the interface `name`, which `fill` completes.
fn request(name: &str, what: libc::Ioctl, fill: impl Fn(&mut libc::ifreq)) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: ifreq is plain data for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    fill(&mut request);
    // SAFETY: these requests read an ifreq, which lives here.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw const request) })
}

/// Everything that is nowhere nearer goes to `router`. Spec: Linux route(8), "SIOCADDRT".
pub(crate) fn add_default_route(router: Ipv4Addr) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: rtentry is plain data for which zero is valid; its name is then a null pointer, which
    // says that there is none.
    let mut route: libc::rtentry = unsafe { mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(router);
    route.rt_flags = ROUTE_UP | ROUTE_BY_GATEWAY;
    // SAFETY: the request reads an rtentry, which lives here.
    let added = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &raw const route) };
    match check(added) {
        // The same as before.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// The socket sends and receives by this interface only. Spec: socket(7), "SO_BINDTODEVICE".
pub(crate) fn bind_to_interface(socket: &UdpSocket, name: &str) -> io::Result<()> {
    let len = libc::socklen_t::try_from(name.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `len` bytes of the name.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            len,
        )
    })
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    // Behind the port.
    for (to, from) in data[2..].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    libc::sockaddr {
        sa_family: INET,
        sa_data: data,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// No file system that has `directory` in it changes on its disk from now on. Spec: ioctl_fs(2) of the kernel's
/// "fs/ioctl.c", "FIFREEZE".
pub(crate) fn freeze(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request reads nothing of ours; the number is not looked at.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), FREEZE, 0) })
}

/// Ends what [`freeze`] began.
pub(crate) fn thaw(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: as above.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), THAW, 0) })
}

/// Mixes random bytes into the kernel's generator, counts them as such, and lets it begin anew from there.
/// Spec: random(4), "RNDADDENTROPY", "RNDRESEEDCRNG".
pub(crate) fn add_entropy(bytes: &[u8]) -> io::Result<()> {
    let device = std::fs::File::options().write(true).open("/dev/urandom")?;
    for portion in bytes.chunks(ENTROPY_PORTION) {
        let mut pool = EntropyPool {
            bits: libc::c_int::try_from(portion.len() * 8).map_err(io::Error::other)?,
            len: libc::c_int::try_from(portion.len()).map_err(io::Error::other)?,
            bytes: [0; ENTROPY_PORTION],
        };
        pool.bytes[..portion.len()].copy_from_slice(portion);
        // SAFETY: the request reads the structure and as many bytes as it says, which are in it.
        check(unsafe { libc::ioctl(device.as_raw_fd(), ADD_ENTROPY, &raw const pool) })?;
    }
    // SAFETY: the request has no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), RESEED) })
}

// Of linux/random.h: _IOW('R', 3, int[2]) and _IO('R', 7).
const ADD_ENTROPY: libc::Ioctl = 0x4008_5203;
const RESEED: libc::Ioctl = 0x5207;
const ENTROPY_PORTION: usize = 256;

/// Of linux/random.h, `struct rand_pool_info`.
#[repr(C)]
struct EntropyPool {
    bits: libc::c_int,
    len: libc::c_int,
    bytes: [u8; ENTROPY_PORTION],
}

/// No signal interrupts this thread.
pub(crate) fn block_signals() {
    // SAFETY: `all` is a local that sigfillset initialises before it is read.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

/// The child leads a session of its own, with no signal blocked; with `terminal`, its standard input becomes the controlling
/// terminal. It has the rights of `user` and no others.
pub(crate) fn lead_session(command: &mut Command, terminal: bool, user: Option<Rights>) {
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe calls; `none`
    // is a local that sigemptyset initialises, and the groups are as many as is said.
    unsafe {
        command.pre_exec(move || {
            let mut none: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&raw mut none);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            rustix::process::setsid()?;
            if terminal {
                rustix::process::ioctl_tiocsctty(std::io::stdin())?;
            }
            if let Some(user) = &user {
                check(libc::setgroups(user.groups.len(), user.groups.as_ptr()))?;
                check(libc::setgid(user.gid))?;
                check(libc::setuid(user.uid))?;
            }
            Ok(())
        });
    }
}

/// What a process may: whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Sends a signal to every process but this one. Spec: kill(2), "pid equals -1".
pub(crate) fn signal_all(signal: i32) -> io::Result<()> {
    // SAFETY: kill touches no memory; process 1 is exempt from its own broadcast.
    if unsafe { libc::kill(-1, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
