; IRETQ into a 32-bit code segment, and back by a far jump.
; mode:    long64
; out:     rax=0x18 rbx=0x8 rcx=1
    push qword DATA_SEL
    push qword 0x10000
    push qword 2
    push qword CODE32_SEL
    lea rax, [compatible]
    push rax
    iretq
bits 32
compatible:
    mov eax, cs
    xor ecx, ecx
    inc ecx
    jmp CODE64_SEL:back
bits 64
back:
    mov ebx, cs
    hlt
