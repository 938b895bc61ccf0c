; Ring 3 jumps to the same address in two address spaces, where the code differs.
; needs:   pcid
; mode:    long64
; in:      mem32[0x72000]=0x0f01c783 mem32[0x72004]=0x05 mem32[0x73000]=0x0f10c783 mem32[0x73004]=0x05
; out:     rdi=0x154
    ; A second address space at 40000h: copies of the tables.
    mov esi, 0x1000
    mov edi, 0x40000
    mov ecx, 4 * 512
    rep movsq
    mov dword [0x40000], 0x41007
    mov dword [0x41000], 0x42007
    mov dword [0x42000], 0x43007
    %define PT2 0x43000
    mov dword [PT2 + 0x72 * 8], 0x73007
    ; jmp rbx
    mov dword [0x70000], 0xe3ff
    mov rax, cr4
    or eax, 1 << 17
    mov cr4, rax
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x001b0008
    wrmsr
    mov ecx, 0xc0000082
    lea rax, [entry]
    xor edx, edx
    wrmsr
    mov r12d, 0x1001
    mov r13d, 0x40002
    mov cr3, r12
    mov cr3, r13
    bts r12, 63
    bts r13, 63
    xor edi, edi
    mov ebx, 0x72000
    mov ebp, 40
round:
    ; 20 times each of them.
    mov cr3, r12
    xchg r12, r13
    mov ecx, 0x70000
    mov r11d, 2
    o64 sysret
entry:
    dec ebp
    jnz round
    hlt
