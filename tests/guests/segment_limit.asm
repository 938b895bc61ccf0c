; A data segment of four bytes: the fifth is #GP(0).
; mode:    protected32
; in:      mem64[0x6040]=0x0040920000000003 mem32[0x0]=0x11223344
; out:     trap=GP error=0 rax=0x11223344
    mov ecx, 0x40
    mov fs, ecx
    mov eax, [fs:0]
    mov bl, [fs:4]
    hlt
