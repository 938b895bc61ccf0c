; With SMAP ring 0 touches user pages only after STAC.
; needs:   smap
; mode:    long64
; out:     trap=PF error=1 rbx=0x1234 cr2=0x20000
    mov qword [PT + 0x21 * 8], 0x21003
    mov word [DATA], 0x1234
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
    or eax, 1 << 21
    mov cr4, rax
    stac
    movzx ebx, word [DATA]
    clac
    mov eax, [DATA]
