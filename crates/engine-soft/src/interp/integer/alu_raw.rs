//! Arithmetic by the host's own instructions: same operation, same flags, undefined ones included.
//! Spec: Intel SDM Vol. 2. Status flags are AX after `lahf; seto al` (see `cpu`).

use std::arch::asm;

use crate::word::Word;

/// A two-operand operation with flags.
pub(crate) trait Binary<T: Word> {
    /// Is the result stored? CMP and TEST keep only the flags.
    const WRITES: bool;
    fn apply(a: T, b: T, status: u16) -> (T, u16);
}

/// A one-operand operation.
pub(crate) trait Unary<T: Word> {
    fn apply(a: T, status: u16) -> (T, u16);
}

/// A shift or rotate by a count that is not zero after masking.
pub(crate) trait Shift<T: Word> {
    fn apply(a: T, count: u8, status: u16) -> (T, u16);
}

macro_rules! binary_for {
    ($name:ident, $text:literal, $writes:literal, $before:literal, $t:ty, $class:ident, $m:literal) => {
        impl Binary<$t> for $name {
            const WRITES: bool = $writes;

            #[inline(always)]
            fn apply(mut a: $t, b: $t, mut status: u16) -> ($t, u16) {
                // SAFETY: register arithmetic only; RAX carries the flags in and out.
                unsafe {
                    asm!(
                        $before,
                        concat!($text, " {a", $m, "}, {b", $m, "}"),
                        "lahf",
                        "seto al",
                        a = inout($class) a,
                        b = in($class) b,
                        inout("ax") status,
                        options(pure, nomem, nostack)
                    );
                }
                (a, status)
            }
        }
    };
}

macro_rules! binary {
    ($name:ident, $text:literal, $writes:literal, $before:literal) => {
        #[derive(Debug)]
        pub(crate) struct $name;
        binary_for!($name, $text, $writes, $before, u8, reg_byte, "");
        binary_for!($name, $text, $writes, $before, u16, reg, ":x");
        binary_for!($name, $text, $writes, $before, u32, reg, ":e");
        binary_for!($name, $text, $writes, $before, u64, reg, "");
    };
}

binary!(Add, "add", true, "");
binary!(Or, "or", true, "");
binary!(Adc, "adc", true, "bt eax, 8");
binary!(Sbb, "sbb", true, "bt eax, 8");
binary!(And, "and", true, "");
binary!(Sub, "sub", true, "");
binary!(Xor, "xor", true, "");
binary!(Cmp, "cmp", false, "");
binary!(Test, "test", false, "");

macro_rules! unary_for {
    ($name:ident, $text:literal, $before:literal, $t:ty, $class:ident, $m:literal) => {
        impl Unary<$t> for $name {
            #[inline(always)]
            fn apply(mut a: $t, mut status: u16) -> ($t, u16) {
                // SAFETY: register arithmetic only; RAX carries the flags in and out.
                unsafe {
                    asm!(
                        $before,
                        concat!($text, " {a", $m, "}"),
                        "lahf",
                        "seto al",
                        a = inout($class) a,
                        inout("ax") status,
                        options(pure, nomem, nostack)
                    );
                }
                (a, status)
            }
        }
    };
}

macro_rules! unary {
    ($name:ident, $text:literal, $before:literal) => {
        #[derive(Debug)]
        pub(crate) struct $name;
        unary_for!($name, $text, $before, u8, reg_byte, "");
        unary_for!($name, $text, $before, u16, reg, ":x");
        unary_for!($name, $text, $before, u32, reg, ":e");
        unary_for!($name, $text, $before, u64, reg, "");
    };
}

// INC and DEC leave carry alone: it is put into the host's carry first.
unary!(Inc, "inc", "bt eax, 8");
unary!(Dec, "dec", "bt eax, 8");
unary!(Neg, "neg", "");

/// NOT changes no flags.
#[derive(Debug)]
pub(crate) struct Not;

macro_rules! not_for {
    ($($t:ty)*) => {$(
        impl Unary<$t> for Not {
            #[inline(always)]
            fn apply(a: $t, status: u16) -> ($t, u16) {
                (!a, status)
            }
        }
    )*};
}

not_for!(u8 u16 u32 u64);

macro_rules! shift_for {
    ($name:ident, $text:literal, $t:ty, $class:ident, $m:literal) => {
        impl Shift<$t> for $name {
            #[inline(always)]
            fn apply(mut a: $t, count: u8, mut status: u16) -> ($t, u16) {
                // SAFETY: register arithmetic only. All status flags are loaded first (ADD AL sets
                // OF, SAHF the rest), since shifts leave or use some of them.
                unsafe {
                    asm!(
                        "add al, 127",
                        "sahf",
                        concat!($text, " {a", $m, "}, cl"),
                        "lahf",
                        "seto al",
                        a = inout($class) a,
                        inout("ax") status,
                        in("cl") count,
                        options(pure, nomem, nostack)
                    );
                }
                (a, status)
            }
        }
    };
}

macro_rules! shift {
    ($name:ident, $text:literal) => {
        #[derive(Debug)]
        pub(crate) struct $name;
        shift_for!($name, $text, u8, reg_byte, "");
        shift_for!($name, $text, u16, reg, ":x");
        shift_for!($name, $text, u32, reg, ":e");
        shift_for!($name, $text, u64, reg, "");
    };
}

shift!(Rol, "rol");
shift!(Ror, "ror");
shift!(Rcl, "rcl");
shift!(Rcr, "rcr");
shift!(Shl, "shl");
shift!(Shr, "shr");
shift!(Sar, "sar");

/// A rotation of a register by an immediate other than 1 that leaves OF, as it does on some processors.
#[derive(Debug)]
pub(crate) struct KeepsOverflow<O>(std::marker::PhantomData<O>);

impl<T: Word, O: Shift<T>> Shift<T> for KeepsOverflow<O> {
    #[inline(always)]
    fn apply(a: T, count: u8, status: u16) -> (T, u16) {
        let (result, after) = O::apply(a, count, status);
        (result, after & !1 | status & 1)
    }
}

/// What this host does with OF, which is undefined, when it rotates a register by an immediate: does it
/// leave it, where rotations by CL and those of memory compute it?
pub(crate) fn immediate_rotations_keep_overflow() -> bool {
    let keeps = |operand: u32, before: u16| {
        let mut status = before;
        // SAFETY: register arithmetic only.
        unsafe {
            asm!(
                "add al, 127",
                "sahf",
                "rol {a:e}, 5",
                "lahf",
                "seto al",
                a = inout(reg) operand => _,
                inout("ax") status,
                options(pure, nomem, nostack)
            );
        }
        status & 1 == before & 1
    };
    [1, 0x0400_0000, 0x0800_0000, 0x4000_0000, 0xc000_0000]
        .into_iter()
        .all(|operand| keeps(operand, 0) && keeps(operand, 1))
}

/// SHLD, SHRD: a shift that brings in bits of a second register.
pub(crate) trait DoubleShift<T: Word> {
    fn apply(a: T, b: T, count: u8, status: u16) -> (T, u16);
}

macro_rules! double_shift_for {
    ($name:ident, $text:literal, $t:ty, $m:literal) => {
        impl DoubleShift<$t> for $name {
            fn apply(mut a: $t, b: $t, count: u8, mut status: u16) -> ($t, u16) {
                // SAFETY: register arithmetic only.
                unsafe {
                    asm!(
                        "add al, 127",
                        "sahf",
                        concat!($text, " {a", $m, "}, {b", $m, "}, cl"),
                        "lahf",
                        "seto al",
                        a = inout(reg) a,
                        b = in(reg) b,
                        inout("ax") status,
                        in("cl") count,
                        options(pure, nomem, nostack)
                    );
                }
                (a, status)
            }
        }
    };
}

macro_rules! double_shift {
    ($name:ident, $text:literal) => {
        #[derive(Debug)]
        pub(crate) struct $name;
        double_shift_for!($name, $text, u16, ":x");
        double_shift_for!($name, $text, u32, ":e");
        double_shift_for!($name, $text, u64, "");
    };
}

double_shift!(Shld, "shld");
double_shift!(Shrd, "shrd");

/// Operations of one source and one destination that leave some flags: BSF, BSR, IMUL r, r.
macro_rules! flags_through {
    ($name:ident, $text:literal) => {
        #[derive(Debug)]
        pub(crate) struct $name;
        flags_through!($name, $text, u16, ":x");
        flags_through!($name, $text, u32, ":e");
        flags_through!($name, $text, u64, "");
    };
    ($name:ident, $text:literal, $t:ty, $m:literal) => {
        impl Binary<$t> for $name {
            const WRITES: bool = true;

            #[inline(always)]
            fn apply(mut a: $t, b: $t, mut status: u16) -> ($t, u16) {
                // SAFETY: register arithmetic only.
                unsafe {
                    asm!(
                        "add al, 127",
                        "sahf",
                        concat!($text, " {a", $m, "}, {b", $m, "}"),
                        "lahf",
                        "seto al",
                        a = inout(reg) a,
                        b = in(reg) b,
                        inout("ax") status,
                        options(pure, nomem, nostack)
                    );
                }
                (a, status)
            }
        }
    };
}

flags_through!(Bsf, "bsf");
flags_through!(Bsr, "bsr");
flags_through!(Imul, "imul");
flags_through!(Bt, "bt");
flags_through!(Bts, "bts");
flags_through!(Btr, "btr");
flags_through!(Btc, "btc");

/// One-operand multiplications and divisions: (low, high, status).
pub(crate) trait Wide<T: Word> {
    fn apply(low: T, high: T, by: T, status: u16) -> (T, T, u16);
}

macro_rules! wide_for {
    ($name:ident, $text:literal, $t:ty, $m:literal, $low:tt, $high:tt) => {
        impl Wide<$t> for $name {
            fn apply(mut low: $t, mut high: $t, by: $t, status: u16) -> ($t, $t, u16) {
                let mut flags = u64::from(status);
                // SAFETY: register arithmetic only; for divisions the caller has ruled out #DE.
                // Not `pure`, so that a division never moves in front of the check.
                // RAX is an operand, so the flags pass through {s}: in before, out after.
                unsafe {
                    asm!(
                        "xchg rax, {s}",
                        "add al, 127",
                        "sahf",
                        "xchg rax, {s}",
                        concat!($text, " {b", $m, "}"),
                        "xchg rax, {s}",
                        "lahf",
                        "seto al",
                        "xchg rax, {s}",
                        s = inout(reg) flags,
                        b = in(reg) by,
                        inout($low) low,
                        inout($high) high,
                        options(nomem, nostack)
                    );
                }
                (low, high, flags as u16)
            }
        }
    };
}

macro_rules! wide {
    ($name:ident, $text:literal) => {
        #[derive(Debug)]
        pub(crate) struct $name;
        wide_for!($name, $text, u16, ":x", "ax", "dx");
        wide_for!($name, $text, u32, ":e", "eax", "edx");
        wide_for!($name, $text, u64, "", "rax", "rdx");
    };
}

wide!(MulWide, "mul");
wide!(ImulWide, "imul");
wide!(DivWide, "div");
wide!(IdivWide, "idiv");

macro_rules! byte_wide {
    ($function:ident, $text:literal) => {
        /// The 8-bit form: AX in, AX out.
        pub(crate) fn $function(mut ax: u16, by: u8, status: u16) -> (u16, u16) {
            let mut flags = u64::from(status);
            // SAFETY: as in the wider forms.
            unsafe {
                asm!(
                    "xchg rax, {s}",
                    "add al, 127",
                    "sahf",
                    "xchg rax, {s}",
                    concat!($text, " {b}"),
                    "xchg rax, {s}",
                    "lahf",
                    "seto al",
                    "xchg rax, {s}",
                    s = inout(reg) flags,
                    b = in(reg_byte) by,
                    inout("ax") ax,
                    options(nomem, nostack)
                );
            }
            (ax, flags as u16)
        }
    };
}

byte_wide!(mul_byte, "mul");
byte_wide!(imul_byte, "imul");
byte_wide!(div_byte, "div");
byte_wide!(idiv_byte, "idiv");

/// Replaces `old` by `new` at a host address of guest RAM, atomically at any alignment; answers what
/// was there, which is `old` when it was replaced.
///
/// # Safety
/// `host` must be valid for writes of `T`.
pub(crate) unsafe fn compare_exchange<T: Word>(host: u64, old: T, new: T) -> T {
    let mut was = old.to_u64();
    let new = new.to_u64();
    // SAFETY: the caller's promise; LOCK CMPXCHG takes any alignment.
    unsafe {
        match T::BYTES {
            1 => {
                asm!("lock cmpxchg [{p}], {n}", p = in(reg) host, n = in(reg_byte) new as u8, inout("rax") was, options(nostack))
            }
            2 => {
                asm!("lock cmpxchg [{p}], {n:x}", p = in(reg) host, n = in(reg) new, inout("rax") was, options(nostack))
            }
            4 => {
                asm!("lock cmpxchg [{p}], {n:e}", p = in(reg) host, n = in(reg) new, inout("rax") was, options(nostack))
            }
            _ => {
                asm!("lock cmpxchg [{p}], {n}", p = in(reg) host, n = in(reg) new, inout("rax") was, options(nostack))
            }
        }
    }
    T::from_u64(was)
}

/// CMPXCHG16B at a host address of guest RAM: (low, high) found there.
///
/// # Safety
/// `host` must be 16-byte aligned and valid for writes of 16 bytes.
pub(crate) unsafe fn compare_exchange_16(
    host: u64,
    old: (u64, u64),
    new: (u64, u64),
) -> (u64, u64) {
    let (mut low, mut high) = old;
    // SAFETY: the caller's promise. RBX is LLVM's, so it is swapped around the instruction; the
    // address must not be in it.
    unsafe {
        asm!(
            "xchg rbx, r8",
            "lock cmpxchg16b [rdi]",
            "mov rbx, r8",
            in("rdi") host,
            inout("r8") new.0 => _,
            in("rcx") new.1,
            inout("rax") low,
            inout("rdx") high,
            options(nostack)
        );
    }
    (low, high)
}
