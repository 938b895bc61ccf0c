; With CR0.WP clear the supervisor writes read-only pages.
; mode:    long64
; in:      mem64[0x4100]=0x20001
; out:     mem32[0x20000]=0x77
    mov rax, cr0
    and eax, ~(1 << 16)
    mov cr0, rax
    mov dword [DATA], 0x77
    hlt
