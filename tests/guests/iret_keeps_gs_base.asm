; A return to ring 3 that makes GS null leaves its base, which is an MSR's in 64-bit mode.
; mode:    long64
; in:      mem32[0x20000]=0x1111
; out:     trap=GP error=0 rbx=0x1111 rax=0
    mov eax, DATA_SEL
    mov gs, eax
    mov ecx, 0xc0000101
    mov eax, DATA
    xor edx, edx
    wrmsr
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    mov eax, gs
    mov ebx, [gs:0]
    hlt
