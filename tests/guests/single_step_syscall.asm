; TF masked by FMASK: no single-step trap after SYSCALL. SYSRET that sets TF traps at once.
; mode:    long64
; out:     trap=DB rax=0x1111 rbx=0x2222 rcx=0xc0000084
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x001b0008
    wrmsr
    mov ecx, 0xc0000082
    lea rax, [entry]
    xor edx, edx
    wrmsr
    mov ecx, 0xc0000084
    mov eax, 0x100
    xor edx, edx
    wrmsr
    mov ebp, ecx
    push qword 0x102
    popfq
    syscall
entry:
    mov eax, 0x1111
    mov ebx, 0x2222
    mov ecx, ebp
    pushfq
    or qword [rsp], 0x100
    popfq
    nop
