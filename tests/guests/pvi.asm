; Protected-mode virtual interrupts: CLI and STI in ring 3 change VIF.
; mode:    long64
; out:     trap=INT80 rax=0x80002 rbx=2
    mov rax, cr4
    or eax, 2
    mov cr4, rax
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    sti
    pushfq
    pop rax
    cli
    pushfq
    pop rbx
    int 0x80
