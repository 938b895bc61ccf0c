; INT3 needs no IOPL in virtual-8086 mode.
; mode:    protected32
; out:     trap=BP mem32[0xffe0]=0x800
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
    int3
