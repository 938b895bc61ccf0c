; MOV SS holds the single-step trap off for one instruction more.
; mode:    protected32
; out:     trap=DB rcx=1 rbx=0
    xor ecx, ecx
    xor ebx, ebx
    mov edx, ss
    push dword 0x102
    popfd
    mov ss, edx
    inc ecx
    inc ebx
    hlt
