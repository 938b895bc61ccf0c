; FIP is the last instruction's that is none of control, whatever came after it: CPUID, memory seen for
; the first time, FLDCW, FNCLEX, MMX. FRSTOR of another FIP is kept until the next such instruction.
; mode:    long64
; out:     rbp=0 rsi=0 rdi=0 r8=0 r9=0x12345678 r10=0
    fninit
    fld1
    xor eax, eax
one:
    fadd st0, st0
    cpuid
    fnstenv [DATA]
    mov ebp, [DATA + 12]
    sub ebp, one
two:
    fmul dword [DATA + 0x3000]
    mov dword [DATA + 0x4000], 1
    fnstenv [DATA]
    mov esi, [DATA + 12]
    sub esi, two
three:
    fstp qword [DATA + 0x5000]
    fldcw [DATA]
    fnclex
    fwait
    fnstenv [DATA]
    mov edi, [DATA + 12]
    sub edi, three
four:
    fld1
    movd mm3, eax
    paddb mm3, mm3
    emms
    fnstenv [DATA]
    mov r8d, [DATA + 12]
    sub r8d, four
    fldz
    fnsave [DATA]
    mov dword [DATA + 12], 0x12345678
    frstor [DATA]
    fldcw [DATA]
    fnstenv [DATA + 0x100]
    mov r9d, [DATA + 0x10c]
five:
    fchs
    fnstenv [DATA + 0x100]
    mov r10d, [DATA + 0x10c]
    sub r10d, five
    hlt
