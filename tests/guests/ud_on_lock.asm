; LOCK before an instruction that cannot be locked.
; mode:    long64
; out:     trap=UD at=0x8000
    db 0xf0
    mov [rbx], eax
    hlt
