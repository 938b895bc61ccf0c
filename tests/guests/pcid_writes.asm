; Writes in one address space are not seen where the other has another page, again and again.
; needs:   pcid
; mode:    long64
; out:     mem32[0x60000]=20 mem32[0x61000]=40
    ; A second address space at 40000h: copies of the tables.
    mov esi, 0x1000
    mov edi, 0x40000
    mov ecx, 4 * 512
    rep movsq
    mov dword [0x40000], 0x41007
    mov dword [0x41000], 0x42007
    mov dword [0x42000], 0x43007
    %define PT2 0x43000
    mov dword [PT2 + 0x60 * 8], 0x61007
    mov rax, cr4
    or eax, 1 << 17
    mov cr4, rax
    mov r12d, 0x1001
    mov r13d, 0x40002
    mov cr3, r12
    mov cr3, r13
    bts r12, 63
    bts r13, 63
    mov ebp, 20
round:
    mov cr3, r12
    inc dword [0x60000]
    mov cr3, r13
    add dword [0x60000], 2
    dec ebp
    jnz round
    hlt
