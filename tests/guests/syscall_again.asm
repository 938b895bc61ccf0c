; SYSCALL and SYSRET again and again: the flags come and go, and a new STAR counts at once.
; mode:    long64
; out:     r8=0xc93 r9=0xc93 r13=0xc93 r14=2 r15=0x2b r10=0x18 r12=0x20
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x001b0008
    wrmsr
    mov ecx, 0xc0000082
    lea rax, [entry]
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000084
    mov eax, 0x257fd5
    xor edx, edx
    wrmsr
    xor r8d, r8d
    mov r9, -1
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
    mov edi, 20
    lea rcx, [user]
    mov r11d, 2
    o64 sysret
    align 64
user:
    mov al, 0x7f
    std
    stc
    inc al
    syscall
    pushfq
    pop rax
    or r8, rax
    and r9, rax
    cld
    mov eax, ss
    cmp eax, 0x23
    jne wrong
    mov eax, cs
    or r15, rax
    lea rdi, [rdi - 1]
    jmp user
wrong:
    hlt
    align 64
entry:
    pushfq
    pop rax
    or r14, rax
    or r13, r11
    mov r10d, cs
    mov r12d, ss
    cmp edi, 10
    je other
    test edi, edi
    jz done
    o64 sysret
other:
    mov rbx, rcx
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x001b0018
    wrmsr
    mov rcx, rbx
    o64 sysret
done:
    hlt
