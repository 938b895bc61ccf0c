; A stack segment that is not present: #SS(selector).
; mode:    protected32
; in:      mem64[0x6040]=0x00cf13000000ffff
; out:     trap=SS error=0x40
    mov ecx, 0x40
    mov ss, ecx
