//! The seccomp filters: lists of what is allowed. All else is refused with EPERM, so that a program
//! that is surprised goes on or says so; what it was is then found by its complaint.
//!
//! One is the process's. Each thread that works at one thing only has another on top of that, with
//! what such work takes: the kernel asks all of a thread's filters, and the strictest answer counts.
//!
//! Programs are made of the lists once in a process, and are there in those that are forked from it: a
//! thread only puts in who its process is.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libc::{c_long, c_ulong};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::calls::{
    CHANGE, COME, CONNECTED, FAMILIES, FOLDERS, LOOK, MEMORY, MORE_THREADS, NETWORK, OPEN_FILES,
    THREADS, WAIT, WHO,
};
use crate::{JailError, Needs};

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// What a thread works at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Talks to the guest's owner, and has threads made. Makes no machine.
    Desk,
    /// Runs guest code, and cold devices.
    Processor,
    /// Serves a device by descriptors that are open.
    Device,
    Network,
    Folder,
    /// Serves a socket device.
    Sockets,
    /// Has memory come that the guest misses.
    Pager,
}

impl Work {
    const ALL: [Self; 7] = [
        Self::Desk,
        Self::Processor,
        Self::Device,
        Self::Network,
        Self::Folder,
        Self::Sockets,
        Self::Pager,
    ];
}

/// What fork(3) of the C library asks for: a copy of this process, which has no more rights than it. So
/// a guest's memory is written while the guest goes on.
const FORK: u64 =
    (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD).cast_unsigned() as u64;
/// What a thread may say of itself: when it goes with its parent, its name, that of a mapping, how exact its timers are.
const PRCTL: [libc::c_int; 6] = [
    libc::PR_SET_PDEATHSIG,
    // It has none already; whoever gives up more says so again.
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_SET_TIMERSLACK,
];
/// Of any descriptor: whether it blocks and is handed on, what waits in it, whether it is a terminal.
const PLAIN: [c_ulong; 7] = [
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::FIONREAD,
    // Of a socket: what has not been read at the other end.
    libc::TIOCOUTQ,
    // Of two files: the one has what the other has.
    libc::FICLONE,
    libc::TCGETS,
];
/// Of a tap, when the guest's driver has said what it can do. Spec: Linux `include/uapi/linux/if_tun.h`.
const TAP: [c_ulong; 3] = [
    libc::TUNSETOFFLOAD as c_ulong,
    libc::TUNSETQUEUE as c_ulong,
    libc::TUNSETVNETHDRSZ as c_ulong,
];
/// Of a tap whose frames the host's kernel moves. Who stops a device takes it away from the kernel and asks how far
/// that has come. Spec: Linux `include/uapi/linux/vhost.h`, VHOST_NET_SET_BACKEND, VHOST_GET_VRING_BASE.
const VHOST_END: [c_ulong; 2] = [0x4008_af30, 0xc008_af12];
/// Who serves it gives it to the kernel: VHOST_GET_FEATURES and SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM,
/// ADDR, BASE, KICK, CALL and ERR. Nothing that would have the kernel log, or look up addresses elsewhere.
const VHOST_BEGIN: [c_ulong; 10] = [
    0x8008_af00,
    0x4008_af00,
    0xaf01,
    0x4008_af03,
    0x4008_af10,
    0x4028_af11,
    0x4008_af12,
    0x4008_af20,
    0x4008_af21,
    0x4008_af22,
];
/// All of KVM's are of one kind. Spec: Linux `include/uapi/linux/kvm.h`, KVMIO.
const KVM: u64 = 0xae00;
/// By which a device interrupts: KVM_IRQ_LINE and KVM_SIGNAL_MSI. All who serve one need these, where the kernel has the
/// interrupt controllers; what they do is done to their own guest.
const INTERRUPTS: [c_ulong; 2] = [0x4008_ae61, 0x4020_aea5];
/// So are userfaultfd's. Spec: Linux `include/uapi/linux/userfaultfd.h`, UFFDIO.
const USERFAULT: u64 = 0xaa00;
const KIND: u64 = 0xff00;

/// This process's number, in a program that is not any process's yet: more than any has, and nothing
/// else that a list speaks of. Spec: Linux `include/linux/threads.h`, PID_MAX_LIMIT.
const SELF: u32 = 0x5e1f_5e1f;

/// What is made once. Of the process's own lists there are those with and without folders and a
/// network.
struct Programs {
    no_clone3: OnceLock<BpfProgram>,
    allowed: [[OnceLock<BpfProgram>; 2]; 2],
    narrowed: [OnceLock<BpfProgram>; Work::ALL.len()],
}

static PROGRAMS: Programs = Programs {
    no_clone3: OnceLock::new(),
    allowed: [const { [const { OnceLock::new() }; 2] }; 2],
    narrowed: [const { OnceLock::new() }; Work::ALL.len()],
};

/// Makes the programs that a guest's process usually takes.
pub(crate) fn prepare() -> Result<(), JailError> {
    no_clone3()?;
    for network in [false, true] {
        process(&Needs {
            network,
            ..Needs::default()
        })?;
    }
    Work::ALL
        .iter()
        .try_for_each(|work| thread(*work).map(drop))
}

pub(crate) fn install(needs: &Needs) -> Result<(), JailError> {
    apply(no_clone3()?)?;
    apply(process(needs)?)
}

/// Leaves the calling thread what `work` takes.
pub(crate) fn narrow(work: Work) -> Result<(), JailError> {
    apply(thread(work)?)
}

/// A C library that hears of no clone3 asks for a thread by clone, whose flags a filter can read.
fn no_clone3() -> Result<&'static BpfProgram, JailError> {
    once(&PROGRAMS.no_clone3, || {
        let none = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        program(none, SeccompAction::Allow, absent)
    })
}

fn process(needs: &Needs) -> Result<&'static BpfProgram, JailError> {
    let [folders, network] = [needs.has_folders, needs.network].map(usize::from);
    once(&PROGRAMS.allowed[folders][network], || {
        list(allowed(needs)?)
    })
}

fn thread(work: Work) -> Result<&'static BpfProgram, JailError> {
    once(&PROGRAMS.narrowed[work as usize], || list(narrowed(work)?))
}

/// What two threads make at a time is the same.
fn once(
    place: &'static OnceLock<BpfProgram>,
    make: impl FnOnce() -> Result<BpfProgram, JailError>,
) -> Result<&'static BpfProgram, JailError> {
    if let Some(made) = place.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(place.get_or_init(|| made))
}

fn apply(program: &BpfProgram) -> Result<(), JailError> {
    apply_filter(&of_this_process(program))?;
    Ok(())
}

fn of_this_process(program: &BpfProgram) -> BpfProgram {
    let mut own = program.clone();
    for step in own.iter_mut().filter(|step| step.k == SELF) {
        step.k = std::process::id();
    }
    own
}

fn list(rules: Rules) -> Result<BpfProgram, JailError> {
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    program(rules, refused, SeccompAction::Allow)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, JailError> {
    let filter = SeccompFilter::new(rules, otherwise, then, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

fn allowed(needs: &Needs) -> Result<Rules, BackendError> {
    let mut rules = common()?;
    add(&mut rules, &[LOOK, CHANGE, MORE_THREADS, CONNECTED, COME]);
    copies(&mut rules)?;
    rules.insert(libc::SYS_seccomp, vec![narrower()?]);
    rules.insert(
        libc::SYS_ioctl,
        vec![but_for(&[libc::TIOCSTI, libc::TIOCLINUX])?],
    );
    if needs.has_folders {
        add(&mut rules, &[FOLDERS]);
    }
    if needs.network {
        add(&mut rules, &[NETWORK]);
        rules.insert(libc::SYS_socket, any_of(&FAMILIES)?);
    }
    Ok(rules)
}

fn narrowed(work: Work) -> Result<Rules, BackendError> {
    let mut rules = common()?;
    let mut controls = requests(&PLAIN)?;
    match work {
        Work::Desk => {
            add(&mut rules, &[LOOK, CHANGE, MORE_THREADS, CONNECTED, COME]);
            copies(&mut rules)?;
            rules.insert(libc::SYS_seccomp, vec![narrower()?]);
            // For the threads of processors, which come of its own.
            controls.push(of_kind(KVM)?);
        }
        Work::Processor => {
            controls.push(of_kind(KVM)?);
            controls.extend(requests(&TAP)?);
            controls.extend(requests(&VHOST_END)?);
        }
        Work::Device => {}
        Work::Network => {
            add(&mut rules, &[LOOK, CHANGE, CONNECTED, COME, NETWORK]);
            controls.extend(requests(&TAP)?);
            controls.extend(requests(&VHOST_BEGIN)?);
            controls.extend(requests(&VHOST_END)?);
            rules.insert(libc::SYS_socket, any_of(&FAMILIES)?);
        }
        Work::Folder => add(&mut rules, &[LOOK, CHANGE, FOLDERS]),
        Work::Sockets => add(&mut rules, &[CONNECTED, COME]),
        Work::Pager => controls.push(of_kind(USERFAULT)?),
    }
    if matches!(
        work,
        Work::Device | Work::Network | Work::Folder | Work::Sockets
    ) {
        controls.extend(requests(&INTERRUPTS)?);
    }
    rules.insert(libc::SYS_ioctl, controls);
    Ok(rules)
}

/// What all threads may do.
fn common() -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    add(&mut rules, &[MEMORY, OPEN_FILES, WAIT, THREADS, WHO]);
    let own = u64::from(SELF);
    rules.insert(libc::SYS_kill, vec![when(0, SeccompCmpOp::Eq, own)?]);
    rules.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own)?]);
    // To whom it is connected, and nobody by name: a disk may be at the other end.
    rules.insert(libc::SYS_recvfrom, Vec::new());
    let nobody = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_sendto, vec![SeccompRule::new(vec![nobody])?]);
    rules.insert(libc::SYS_prlimit64, vec![when(0, SeccompCmpOp::Eq, 0)?]);
    rules.insert(libc::SYS_prctl, any_of(&PRCTL)?);
    Ok(rules)
}

fn add(rules: &mut Rules, lists: &[&[c_long]]) {
    let calls = lists.iter().copied().flatten();
    rules.extend(calls.map(|call| (*call, Vec::new())));
}

/// To give up more. Spec: seccomp(2), SECCOMP_SET_MODE_FILTER without flags.
fn narrower() -> Result<SeccompRule, BackendError> {
    let length = SeccompCmpArgLen::Dword;
    let operation = u64::from(libc::SECCOMP_SET_MODE_FILTER);
    SeccompRule::new(vec![
        SeccompCondition::new(0, length.clone(), SeccompCmpOp::Eq, operation)?,
        SeccompCondition::new(1, length, SeccompCmpOp::Eq, 0)?,
    ])
}

/// Threads, and copies of this process, whose ends are waited for.
fn copies(rules: &mut Rules) -> Result<(), BackendError> {
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let calls = vec![
        when(0, SeccompCmpOp::MaskedEq(thread), thread)?,
        when(0, SeccompCmpOp::Eq, FORK)?,
    ];
    rules.insert(libc::SYS_clone, calls);
    rules.insert(libc::SYS_wait4, Vec::new());
    Ok(())
}

fn requests(some: &[c_ulong]) -> Result<Vec<SeccompRule>, BackendError> {
    let each = some.iter();
    each.map(|request| when(1, SeccompCmpOp::Eq, *request))
        .collect()
}

fn of_kind(kind: u64) -> Result<SeccompRule, BackendError> {
    when(1, SeccompCmpOp::MaskedEq(KIND), kind)
}

fn when(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    let length = SeccompCmpArgLen::Dword;
    SeccompRule::new(vec![SeccompCondition::new(
        argument, length, compare, value,
    )?])
}

/// Rules for each of these as the first argument.
fn any_of(values: &[libc::c_int]) -> Result<Vec<SeccompRule>, BackendError> {
    let each = values.iter().map(|value| u64::from(value.cast_unsigned()));
    each.map(|value| when(0, SeccompCmpOp::Eq, value)).collect()
}

/// Any second argument but these.
fn but_for(values: &[c_ulong]) -> Result<SeccompRule, BackendError> {
    let conditions = values
        .iter()
        .map(|value| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *value));
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
