; SYSRET to ring 3, SYSCALL back: RCX and R11 tell where from, FMASK clears IF and more.
; mode:    long64
; out:     rax=0x2b rbx=8 rdx=0x23 r11=0x202 rcx=0x8046 rsi=2
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x001b0008
    wrmsr
    mov ecx, 0xc0000082
    lea rax, [entry]
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000084
    mov eax, 0x700
    xor edx, edx
    wrmsr
    lea rcx, [user]
    mov r11d, 0x202
    o64 sysret
    align 64
user:
    mov eax, cs
    mov edx, ss
    syscall
entry:
    mov ebx, cs
    pushfq
    pop rsi
    and esi, 0xffff
    hlt
