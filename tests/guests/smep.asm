; With SMEP ring 0 does not run user pages.
; needs:   smep
; mode:    long64
; out:     trap=PF error=0x11 cr2=0x20000
    mov byte [DATA], 0xf4
    mov edi, 0
fix:
    mov rax, [PT + rdi * 8]
    and al, ~4
    cmp edi, 0x20
    je skip
    mov [PT + rdi * 8], rax
skip:
    inc edi
    cmp edi, 512
    jne fix
    mov rax, cr3
    mov cr3, rax
    mov rax, cr4
    or eax, 1 << 20
    mov cr4, rax
    mov eax, DATA
    jmp rax
