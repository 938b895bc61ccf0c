; A write that both the page's rights and its protection key deny: the error code tells of both.
; needs:   pku
; mode:    long64
; in:      mem64[0x4100]=0x800000000020005
; out:     trap=PF error=0x27 cr2=0x20008
    mov rax, cr4
    or eax, 1 << 22
    mov cr4, rax
    mov eax, 1 << 2
    xor ecx, ecx
    xor edx, edx
    wrpkru
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    mov dword [DATA + 8], 1
    hlt
