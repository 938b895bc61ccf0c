//! A program that differs, made small: instructions become NOPs as long as it still differs.

use engine::EngineError;
use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};

use super::layout::REGION;
use super::program::Program;
use super::run::{Pair, Verdict};

impl Program {
    /// The program with as few instructions as still differ on pairs that `pair` makes.
    ///
    /// # Errors
    /// When an engine fails.
    pub fn shrink(
        &self,
        mut pair: impl FnMut() -> Result<Pair, EngineError>,
    ) -> Result<Program, EngineError> {
        let mut best = self.clone();
        let mut step = best.instructions.len().div_ceil(2);
        while step > 0 {
            let mut at = 0;
            while at < best.instructions.len() {
                let end = (at + step).min(best.instructions.len());
                let mut smaller = best.clone();
                for range in smaller.instructions.drain(at..end) {
                    smaller.code[range].fill(0x90);
                }
                if matches!(pair()?.run(&smaller)?, Verdict::Differs(_)) {
                    best = smaller;
                } else {
                    at = end;
                }
            }
            step /= 2;
        }
        Ok(best)
    }

    /// What is left of it, as text.
    #[must_use]
    pub fn listing(&self) -> String {
        let start = self.told.region;
        let mut formatter = NasmFormatter::new();
        let mut text = format!(
            "{:?}, CPL {}, handlers {} stack, interrupts {}\nflags {:x} cr0 {:x} cr4 {:x} mxcsr {:x} gpr {:x?}\n",
            self.mapping,
            self.state.segments[2].dpl(),
            if self.told.own_stack {
                "on their own"
            } else {
                "on the program's"
            },
            self.interrupted,
            self.state.rflags,
            self.state.cr0,
            self.state.cr4,
            self.state.fpu.mxcsr,
            self.state.gpr,
        );
        let points: Vec<String> = self
            .told
            .recovery
            .iter()
            .map(|p| format!("{p:x}"))
            .collect();
        text += &format!(
            "region {REGION:x} at {start:x}; goes on at {}\n",
            points.join(" ")
        );
        for range in &self.instructions {
            let bytes = &self.code[range.clone()];
            let ip = start.wrapping_add(range.start as u64);
            let insn = Decoder::with_ip(self.bits, bytes, ip, DecoderOptions::NONE).decode();
            text += &format!("{ip:x}  ");
            formatter.format(&insn, &mut text);
            text.push('\n');
        }
        text
    }
}
