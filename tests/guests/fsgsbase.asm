; WRFSBASE and RDGSBASE with CR4.FSGSBASE.
; needs:   fsgsbase
; mode:    long64
; in:      mem32[0x20000]=0x1234
; out:     rax=0x1234 rbx=0x20000
    mov rax, cr4
    or eax, 1 << 16
    mov cr4, rax
    mov ecx, DATA
    wrfsbase rcx
    wrgsbase ecx
    mov eax, [fs:0]
    rdgsbase rbx
    hlt
