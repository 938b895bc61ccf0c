; A segment out of the LDT.
; mode:    protected32
; in:      mem64[0x6040]=0x000082030000000f mem64[0x30008]=0x00cf93020010ffff mem32[0x20010]=0x1234
; out:     rax=0x1234 rbx=0x40
    mov eax, 0x40
    lldt ax
    sldt ebx
    mov eax, 0xc
    mov fs, eax
    mov eax, [fs:0]
    hlt
