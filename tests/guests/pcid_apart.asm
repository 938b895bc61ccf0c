; Each PCID has translations of its own, of data and of code, which changes between them keep.
; needs:   pcid
; mode:    long64
; in:      mem32[0x60000]=0x11 mem32[0x61000]=0x22
; in:      mem32[0x70000]=0x1b8 mem32[0x70004]=0xc300 mem32[0x71000]=0x2b8 mem32[0x71004]=0xc300
; out:     r8=0x154 r9=0x14 r10=0x2a8 r11=0x28
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
    mov dword [PT2 + 0x70 * 8], 0x71007
    mov rax, cr4
    or eax, 1 << 17
    mov cr4, rax
    mov r12d, 0x1001
    mov r13d, 0x40002
    mov cr3, r12
    mov cr3, r13
    bts r12, 63
    bts r13, 63
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    mov ebx, 0x70000
    mov ebp, 20
round:
    mov cr3, r12
    add r8d, [0x60000]
    call rbx
    add r9d, eax
    mov cr3, r13
    add r10d, [0x60000]
    call rbx
    add r11d, eax
    dec ebp
    jnz round
    hlt
