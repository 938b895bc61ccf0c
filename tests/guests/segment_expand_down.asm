; Expand-down: offsets up to the limit are outside.
; mode:    protected32
; in:      mem64[0x6040]=0x0040960000000fff mem32[0x1000]=0x55667788
; out:     trap=GP error=0 rax=0x55667788
    mov ecx, 0x40
    mov fs, ecx
    mov eax, [fs:0x1000]
    mov al, [fs:0xfff]
    hlt
