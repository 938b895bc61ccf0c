; A 64-bit call gate out of ring 3: a new stack from the TSS, SS null, no parameters.
; mode:    long64
; out:     trap=GP error=0 rax=0x2b rbx=0x23 rcx=0x18000 rdx=0 rsi=0xffe0 rdi=0x2b
    lea rax, [inner]
    mov word [0x6048], ax
    mov word [0x604a], CODE64_SEL
    mov dword [0x604c], 0xec00
    mov qword [0x6050], 0
    lgdt [gdtr]
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    call far dword [pointer]
    mov edi, cs
    hlt
inner:
    mov rax, [rsp + 8]
    mov rbx, [rsp + 24]
    mov rcx, [rsp + 16]
    mov edx, ss
    mov rsi, rsp
    o64 retf
pointer:
    dd 0
    dw 0x4b
gdtr:
    dw 11 * 8 - 1
    dq 0x6000
