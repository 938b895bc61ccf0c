; A word at offset FFFFh crosses the segment's limit: #GP in real mode.
; mode:    real16
; in:      rbx=0xffff
; out:     trap=GP at=0x8000
    mov ax, [bx]
    hlt
