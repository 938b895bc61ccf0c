//! The translator: x86-64 code made of x86-64 code.
//!
//! Problem: an interpreter spends four fifths of its time on getting from one instruction to the
//! next. Choice: what runs often is written out as host code in which most instructions are
//! themselves ([`simple`]), over registers that are mostly the host's of the same name
//! ([`registers`]); status flags stay in EFLAGS until something would destroy them; a memory operand
//! is looked up in the interpreter's own TLB inline ([`emitter`]). Whatever does not fit, and every
//! access that the TLB does not have, calls the interpreter's handler of that one instruction and goes
//! on ([`runtime_raw`]). So faults, devices, self-modification and everything rare exist once, in the
//! interpreter, and a translation can be left at any instruction.
//!
//! Most of what remains is address checks. They are shared: by accesses near each other ([`group`]), and by the rounds
//! of a loop ([`loops`], [`streams`]). What cannot share one this time goes on in a unit that does not try.
//!
//! Units lie inside one page and are found by guest-physical address and [`mode::Mode`]; they know
//! their linear address only as "offset in the page that runs", so they survive changes of address
//! space. Direct jumps inside a page are patched to go straight to the target; all others look in a
//! table of linear addresses ([`jumps_raw`]), which is emptied as mappings change. So the death of a page's
//! code needs no unlinking: all of it dies together.
//!
//! 32-bit code over flat segments is the same with addresses cut to 32 bits ([`mode::Mode`]); the forms of
//! instructions that 64-bit code lacks are replaced by longer ones ([`make`]).
//!
//! Each vCPU translates for itself: nothing needs a lock, jumps are patched without stopping others,
//! and dead code is freed at once.
//!
//! Forks of a guest, and one that goes back to a snapshot, begin with the code that was
//! there ([`image`], [`sharing`]).
//!
//! The guest's vector registers and its x87 unit are the host's while translated code uses them; they
//! are loaded when a unit needs them and saved before anything else runs ([`runtime_raw`],
//! [`x87_state`]).
//!
//! Rejected: an intermediate representation and register allocation (guest and host have the same
//! instructions and flags; most of what an allocator could gain is gained by leaving registers where
//! they are); signals for accesses that miss (5 us each).

mod accesses;
mod assembler;
mod bits;
mod calls;
mod code_memory_raw;
mod cold;
mod control;
mod crossings;
mod emitter;
mod encode;
mod facts;
mod fast_calls;
mod filled;
mod flags;
mod group;
mod handler_raw;
mod high_bytes;
mod huge_pages_raw;
mod image;
mod inherited_raw;
mod jumps_out;
pub(crate) mod jumps_raw;
mod listing;
mod loops;
mod made_by_raw;
mod make;
pub(crate) mod mode;
pub(crate) mod native;
pub(crate) mod placed_raw;
mod reached;
mod recipe;
mod refill;
mod registers;
mod renamable;
mod runtime_raw;
mod sharing;
mod shelf_raw;
mod simple;
mod special;
mod streams;
mod strings;
mod system;
mod translator;
mod undefined_raw;
mod unit;
mod x87;
mod x87_state;

pub use image::is_of_kin;
pub(crate) use translator::Translator;
pub(crate) use unit::Left;
