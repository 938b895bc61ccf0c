//! What a difference is told with: the unit's guest code and the host code that it became.

use crate::interp::run::Interpreter;

impl Interpreter {
    /// The difference in the unit at `rip`, for a person.
    pub(super) fn difference(&mut self, rip: u64, lines: &[String]) -> String {
        let mut text = format!(
            "translated code at {rip:#x} (CR3 {:#x}, CPL {}) does not do what the interpreter does; \
             translated / interpreted:\n",
            self.cpu.cr3, self.cpu.cpl
        );
        for line in lines {
            text += &format!("  {line}\n");
        }
        let registers: Vec<String> = self.cpu.gpr[..16]
            .iter()
            .map(|r| format!("{r:x}"))
            .collect();
        text += &format!(
            "before: gpr {} rflags {:x} mxcsr {:x}\n",
            registers.join(" "),
            self.cpu.read_rflags(),
            self.cpu.fpu.mxcsr
        );
        if let Some(translator) = &mut self.translator
            && let Some(listing) = translator.listing(&mut self.cpu)
        {
            text += &listing;
        }
        text
    }
}
