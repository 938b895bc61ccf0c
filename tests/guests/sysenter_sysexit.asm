; SYSEXIT to ring 3 and SYSENTER back, in protected mode.
; mode:    protected32
; out:     rax=0x53 rbx=0x5b rcx=0x40 rdx=0x48 rsp=0x17000
    xor edx, edx
    mov ecx, 0x174
    mov eax, 0x40
    wrmsr
    inc ecx
    mov eax, 0x17000
    wrmsr
    inc ecx
    mov eax, entry
    wrmsr
    mov eax, [0x6018]
    mov [0x6040], eax
    mov eax, [0x601c]
    mov [0x6044], eax
    mov edx, user
    mov ecx, 0x18000
    sysexit
user:
    mov eax, cs
    mov ebx, ss
    sysenter
entry:
    mov ecx, cs
    mov edx, ss
    hlt
