; #GP through a task gate: the error code is on the new task's stack, EXT marks later faults only.
; mode:    protected32
; out:     rax=0x7f8 rbx=0x17ffc rcx=0x38
    mov dword [0x6600 + 0x20], task
    mov dword [0x6600 + 0x24], 2
    mov dword [0x6600 + 0x28], 0xaaaa
    mov dword [0x6600 + 0x38], 0x18000
    mov dword [0x6600 + 0x48], DATA_SEL
    mov dword [0x6600 + 0x4c], CODE32_SEL
    mov dword [0x6600 + 0x50], DATA_SEL
    mov dword [0x6600 + 0x54], DATA_SEL
    mov dword [0x6600 + 0x58], 0
    mov dword [0x6600 + 0x5c], 0
    mov dword [0x6600 + 0x60], 0
    mov dword [0x6600 + 0x64], 0x680000
    mov dword [0x6048], 0x66000067
    mov dword [0x604c], 0x8900
    lgdt [gdtr]
    mov dword [0x7000 + 13 * 8], 0x480000
    mov dword [0x7000 + 13 * 8 + 4], 0x8500
    mov ecx, 0x7f8
    mov es, ecx
    hlt
task:
    mov ebx, esp
    pop eax
    movzx ecx, word [0x6600]
    hlt
gdtr:
    dw 11 * 8 - 1
    dd 0x6000
