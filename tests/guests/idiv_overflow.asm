; The quotient does not fit: #DE at the instruction, registers as they were.
; mode:    long64
; in:      rax=0x8000000000000000 rdx=0xffffffffffffffff rbx=0xffffffffffffffff
; out:     trap=DE at=0x8001 rax=0x8000000000000000 rdx=0xffffffffffffffff
    nop
    idiv rbx
    hlt
