; INT out of virtual-8086 mode with IOPL 3: nine words on ring 0's stack, data segments null.
; mode:    protected32
; out:     trap=INT80 mem32[0xfffc]=0x2222 mem32[0xfff8]=0x3333 mem32[0xfff4]=0x4444 mem32[0xfff0]=0x5555 mem32[0xffec]=0x1000 mem32[0xffe8]=0x8ffe mem32[0xffe4]=0x23002 mem32[0xffe0]=0x800
    push dword 0x2222
    push dword 0x3333
    push dword 0x4444
    push dword 0x5555
    push dword 0x1000
    push dword 0x8ffe
    push dword 0x23002
    push dword 0x800
    push dword virtual - $$
    iret
bits 16
virtual:
    int 0x80
    hlt
