; INT n in virtual-8086 mode with IOPL 0: #GP(0), whatever the gate says. INT3 is free.
; mode:    protected32
; out:     trap=GP error=0
    push dword 0x2222
    push dword 0x3333
    push dword 0x4444
    push dword 0x5555
    push dword 0x1000
    push dword 0x8ffe
    push dword 0x20002
    push dword 0x800
    push dword virtual - $$
    iret
bits 16
virtual:
    int 0x80
