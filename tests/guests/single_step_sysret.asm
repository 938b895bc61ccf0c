; SYSRET that sets TF traps before the first instruction of ring 3.
; mode:    long64
; out:     trap=DB at=0x8040 rbx=0
    mov ecx, 0xc0000081
    xor eax, eax
    mov edx, 0x001b0008
    wrmsr
    xor ebx, ebx
    mov ecx, user
    mov r11d, 0x102
    o64 sysret
    align 64
user:
    inc ebx
    inc ebx
