; A return to ring 3 makes data segments of ring 0 null, and leaves those of ring 3.
; mode:    protected32
; out:     trap=GP error=0 rax=0 rbx=0x23
    mov eax, USER_DATA_SEL
    mov es, eax
    push dword USER_DATA_SEL
    push dword 0x18000
    push dword 0x33
    push dword user
    retf
user:
    mov eax, ds
    mov ebx, es
    hlt
