//! Runs a case on this host's own processor.
//!
//! The case's registers are loaded by the kernel: a trap enters our signal handler, which replaces
//! the interrupted context by the case's and returns to it. The next signal, of the INT3 after the
//! instruction or of its fault, brings the results and goes back the same way. The handler runs on
//! a stack of its own, so the case may have any RSP.

use std::arch::asm;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{copy_nonoverlapping, null_mut};

use libc::{c_int, siginfo_t, ucontext_t};

use crate::case::{
    CODE, CODE_PAGES, Case, DATA, DATA_PAGES, LDT_CODE, LDT_DATA, Outcome, PAGE, Registers, WINDOW,
    WINDOW_PAGES, WRITABLE_PAGES, Width,
};

/// Most XSAVE area that a signal frame may have here.
const FRAME_BYTES: usize = 16384;
const AVX_AT: usize = 576;

/// The order of `ucontext_t`'s registers, for RAX to R15 in encoding order.
const ORDER: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// What handler and runner share.
struct Shared {
    running: bool,
    entry: Option<(Registers, Width)>,
    result: Option<(Registers, u8, u64, u64)>,
    home: [i64; 23],
    home_fpu: Box<[u8]>,
    home_len: usize,
}

struct Cell(UnsafeCell<Option<Shared>>);

// SAFETY: only the one thread that holds a `Native` uses it, and its handlers interrupt it only at
// the INT3 in `run` and inside the case, where no reference into the cell is live.
unsafe impl Sync for Cell {}

static SHARED: Cell = Cell(UnsafeCell::new(None));

fn shared() -> &'static mut Shared {
    // SAFETY: see `Cell`; `Native::new` has filled it before anything calls this.
    unsafe { (*SHARED.0.get()).get_or_insert_with(Shared::new) }
}

impl Shared {
    fn new() -> Shared {
        Shared {
            running: false,
            entry: None,
            result: None,
            home: [0; 23],
            home_fpu: vec![0; FRAME_BYTES].into_boxed_slice(),
            home_len: 0,
        }
    }
}

extern "C" fn handler(signal: c_int, _info: *mut siginfo_t, context: *mut c_void) {
    // A case may have set AC, and the library's copies are not aligned.
    // SAFETY: a balanced use of the handler's own stack.
    unsafe { asm!("pushfq", "and dword ptr [rsp], 0xfffbffff", "popfq") };
    // SAFETY: the kernel passes a valid context.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let shared = shared();
    if shared.running {
        shared.running = false;
        shared.result = Some(take(context));
        context.uc_mcontext.gregs = shared.home;
        // SAFETY: the frame had at least this length when it was saved, and the kernel's frames of
        // one process are alike.
        unsafe {
            copy_nonoverlapping(
                shared.home_fpu.as_ptr(),
                fpu(context),
                shared.home_len.min(FRAME_BYTES),
            );
        }
        return;
    }
    let Some(entry) = shared.entry.take() else {
        // Not ours: die of it when the instruction runs again.
        // SAFETY: restores the default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    };
    shared.running = true;
    shared.home = context.uc_mcontext.gregs;
    shared.home_len = frame_len(context);
    // SAFETY: the frame's own header gives its length.
    unsafe {
        copy_nonoverlapping(
            fpu(context),
            shared.home_fpu.as_mut_ptr(),
            shared.home_len.min(FRAME_BYTES),
        );
    }
    put(context, &entry.0, entry.1);
}

fn fpu(context: &mut ucontext_t) -> *mut u8 {
    context.uc_mcontext.fpregs.cast()
}

/// Spec: Linux arch/x86/include/uapi/asm/sigcontext.h, `struct _fpx_sw_bytes` at byte 464.
fn frame_len(context: &mut ucontext_t) -> usize {
    // SAFETY: every frame has the 512 bytes of FXSAVE.
    let extended = unsafe { fpu(context).add(468).cast::<u32>().read_unaligned() };
    extended as usize
}

/// The frame as bytes.
fn frame(context: &mut ucontext_t) -> &mut [u8] {
    let len = frame_len(context);
    // SAFETY: the kernel wrote a frame of this length, which lives as long as the handler.
    unsafe { std::slice::from_raw_parts_mut(fpu(context), len) }
}

fn put(context: &mut ucontext_t, registers: &Registers, width: Width) {
    // The kernel's selectors of user code, or ours; CS is the low word, SS the high one.
    let (code, stack) = match width {
        Width::Bits64 => (0x33, 0x2b),
        Width::Bits32 => (0x23, 0x2b),
        Width::Bits16 => (LDT_CODE, LDT_DATA),
    };
    let selectors = &mut context.uc_mcontext.gregs[libc::REG_CSGSFS as usize];
    let kept = *selectors as u64 & 0x0000_ffff_ffff_0000;
    *selectors = (kept | u64::from(stack) << 48 | u64::from(code)) as i64;
    for (to, value) in ORDER.iter().zip(registers.gpr) {
        context.uc_mcontext.gregs[*to as usize] = value as i64;
    }
    context.uc_mcontext.gregs[libc::REG_RIP as usize] = registers.rip as i64;
    context.uc_mcontext.gregs[libc::REG_EFL as usize] = registers.rflags as i64;
    let state = &registers.fpu;
    let frame = frame(context);
    frame[0..2].copy_from_slice(&state.control.to_le_bytes());
    frame[2..4].copy_from_slice(&state.status.to_le_bytes());
    frame[4..6].copy_from_slice(&[state.tag, 0]);
    frame[6..8].copy_from_slice(&state.opcode.to_le_bytes());
    frame[8..16].copy_from_slice(&state.instruction_pointer.to_le_bytes());
    frame[16..24].copy_from_slice(&state.data_pointer.to_le_bytes());
    frame[24..28].copy_from_slice(&state.mxcsr.to_le_bytes());
    for n in 0..8 {
        frame[32 + n * 16..][..16].copy_from_slice(&state.st[n]);
    }
    for n in 0..16 {
        frame[160 + n * 16..][..16].copy_from_slice(&state.ymm[n][..16]);
        frame[AVX_AT + n * 16..][..16].copy_from_slice(&state.ymm[n][16..]);
    }
    // x87, SSE and AVX come from the frame; AVX-512 and AMX parts start clean; PKRU stays.
    let mut present = [0; 8];
    present.copy_from_slice(&frame[512..520]);
    let present = u64::from_le_bytes(present) & 1 << 9 | 7;
    frame[512..520].copy_from_slice(&present.to_le_bytes());
}

fn take(context: &mut ucontext_t) -> (Registers, u8, u64, u64) {
    let gregs = context.uc_mcontext.gregs;
    let mut registers = Registers {
        gpr: [0; 16],
        rip: gregs[libc::REG_RIP as usize] as u64,
        rflags: gregs[libc::REG_EFL as usize] as u64,
        fpu: x86::Fpu::default(),
    };
    for (value, from) in registers.gpr.iter_mut().zip(ORDER) {
        *value = gregs[from as usize] as u64;
    }
    let frame = frame(context);
    let present = frame[512];
    let word = |at: usize| u16::from_le_bytes([frame[at], frame[at + 1]]);
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&frame[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let state = &mut registers.fpu;
    state.mxcsr = long(24) as u32;
    if present & 1 != 0 {
        (state.control, state.status, state.tag) = (word(0), word(2), frame[4]);
        state.opcode = word(6);
        (state.instruction_pointer, state.data_pointer) = (long(8), long(16));
        for n in 0..8 {
            state.st[n].copy_from_slice(&frame[32 + n * 16..][..16]);
        }
    }
    for n in 0..16 {
        if present & 2 != 0 {
            state.ymm[n][..16].copy_from_slice(&frame[160 + n * 16..][..16]);
        }
        if present & 4 != 0 {
            state.ymm[n][16..].copy_from_slice(&frame[AVX_AT + n * 16..][..16]);
        }
    }
    (
        registers,
        gregs[libc::REG_TRAPNO as usize] as u8,
        gregs[libc::REG_ERR as usize] as u64,
        gregs[libc::REG_CR2 as usize] as u64,
    )
}

/// This process's own processor, with the case's pages mapped where the case wants them.
pub(crate) struct Native {
    code: *mut u8,
    data: *mut u8,
    dirty: std::ops::Range<usize>,
}

fn check(result: *mut c_void) -> io::Result<*mut u8> {
    if result == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(result.cast())
}

/// Maps `len` bytes of `file` at `offset`, at `at` or wherever the kernel likes.
fn map(file: &File, at: u64, len: usize, rights: c_int, offset: usize) -> io::Result<*mut u8> {
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED };
    // SAFETY: fixed addresses are inside the range that `reserve` took.
    check(unsafe {
        libc::mmap(
            at as *mut c_void,
            len,
            rights,
            libc::MAP_SHARED | fixed,
            file.as_raw_fd(),
            offset as i64,
        )
    })
}

fn reserve(at: u64, len: usize) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: NOREPLACE takes only what is free.
    check(unsafe { libc::mmap(at as *mut c_void, len, libc::PROT_NONE, flags, -1, 0) }).map(|_| ())
}

impl Native {
    pub(crate) fn new() -> io::Result<Native> {
        let (code_len, data_len) = (CODE_PAGES as usize * PAGE, DATA_PAGES as usize * PAGE);
        // SAFETY: creates a file descriptor, checked below.
        let fd = unsafe { libc::memfd_create(c"silicon".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh and ours.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len((code_len + data_len) as u64)?;
        // A guard page after the code as well.
        reserve(CODE, code_len + PAGE)?;
        reserve(WINDOW, WINDOW_PAGES as usize * PAGE)?;
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let code = map(&file, 0, code_len, both, 0)?;
        let data = map(&file, 0, data_len, both, code_len)?;
        map(&file, CODE, code_len, libc::PROT_READ | libc::PROT_EXEC, 0)?;
        let writable = WRITABLE_PAGES as usize * PAGE;
        map(&file, DATA, writable, both, code_len)?;
        let rest = data_len - writable;
        map(
            &file,
            DATA + writable as u64,
            rest,
            libc::PROT_READ,
            code_len + writable,
        )?;
        // SAFETY: the writable view of the code is this long.
        unsafe { code.write_bytes(0xcc, code_len) };
        touch();
        install()?;
        segments()?;
        // The handler must find it made.
        shared().running = false;
        Ok(Native {
            code,
            data,
            dirty: 0..0,
        })
    }

    pub(crate) fn run(&mut self, case: &Case) -> Option<Outcome> {
        let at = case.offset() as usize;
        assert!(at + case.bytes.len() <= CODE_PAGES as usize * PAGE);
        assert!(case.data.len() == DATA_PAGES as usize * PAGE);
        // SAFETY: both ranges lie in the views, by the assertions.
        unsafe {
            self.code
                .add(self.dirty.start)
                .write_bytes(0xcc, self.dirty.len());
            copy_nonoverlapping(case.bytes.as_ptr(), self.code.add(at), case.bytes.len());
            copy_nonoverlapping(case.data.as_ptr(), self.data, case.data.len());
        }
        self.dirty = at..at + case.bytes.len();
        shared().entry = Some((case.registers.clone(), case.width));
        load_data_segments(case.width);
        // SAFETY: the handler leaves for the case and comes back here with everything as it was,
        // except memory.
        // The kernel does not take NT, AC and ID from a signal's context, so they are cleared here.
        unsafe { asm!("int3", "push 0x202", "popfq") };
        let (registers, vector, error_code, cr2) = shared().result.take()?;
        let mut data = vec![0; case.data.len()];
        // SAFETY: the view is this long.
        unsafe { copy_nonoverlapping(self.data, data.as_mut_ptr(), data.len()) };
        Some(Outcome {
            registers,
            vector,
            error_code,
            cr2,
            data,
        })
    }
}

/// Code outside 64-bit mode needs DS and ES; 64-bit code does not look at them.
fn load_data_segments(width: Width) {
    let selector = match width {
        Width::Bits16 => LDT_DATA,
        _ => 0x2b,
    };
    // SAFETY: the kernel's selector of user data, or that of the segment made in `segments`; ours
    // and the libraries' code runs in 64-bit mode, where both are without effect.
    unsafe {
        asm!("mov ds, {s:e}", "mov es, {s:e}", s = in(reg) u32::from(selector), options(nomem, nostack, preserves_flags));
    }
}

/// Makes the 16-bit segments.
fn segments() -> io::Result<()> {
    // Spec: modify_ldt(2). Bit 1 and 2 of the flags: contents (2 is code); 64-bit and 32-bit clear.
    let entry = |number: u32, base: u64, pages: u64, contents: u32| {
        let description = [
            number,
            base as u32,
            pages as u32 * 0x1000 - 1,
            contents << 1,
        ];
        // SAFETY: the pointer is to a `user_desc` of that size, which the call only reads.
        let result = unsafe {
            libc::syscall(
                libc::SYS_modify_ldt,
                0x11,
                description.as_ptr(),
                size_of_val(&description),
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    entry(u32::from(LDT_CODE >> 3), CODE, CODE_PAGES, 2)?;
    entry(u32::from(LDT_DATA >> 3), WINDOW, WINDOW_PAGES, 0)
}

/// Reads each page once, so that the processor finds it present.
fn touch() {
    for page in 0..DATA_PAGES {
        // SAFETY: the data pages have just been mapped.
        unsafe { ((DATA + page * PAGE as u64) as *const u8).read_volatile() };
    }
    for page in 0..CODE_PAGES {
        // SAFETY: the code pages as well.
        unsafe { ((CODE + page * PAGE as u64) as *const u8).read_volatile() };
    }
}

fn install() -> io::Result<()> {
    let stack = Box::leak(vec![0u8; 1 << 18].into_boxed_slice());
    let alternative = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: stack.len(),
    };
    // SAFETY: the stack is leaked, so it lives for ever.
    if unsafe { libc::sigaltstack(&raw const alternative, null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero is a valid sigaction.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    for signal in [
        libc::SIGTRAP,
        libc::SIGSEGV,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGBUS,
    ] {
        // SAFETY: the action is complete.
        if unsafe { libc::sigaction(signal, &raw const action, null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
