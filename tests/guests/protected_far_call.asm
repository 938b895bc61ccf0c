; mode:    protected32
; out:     rax=7 rcx=0x18 rsp=0x10000
    call CODE32_SEL:target
    hlt
target:
    mov eax, 7
    mov ecx, [esp + 4]
    retf
