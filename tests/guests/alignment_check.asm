; Alignment checking in ring 3, with CR0.AM and AC.
; mode:    long64
; out:     trap=AC error=0 rbx=0x23
    mov rax, cr0
    or eax, 1 << 18
    mov cr0, rax
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 0x40002
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    mov ebx, ss
    mov eax, [DATA]
    mov eax, [DATA + 1]
