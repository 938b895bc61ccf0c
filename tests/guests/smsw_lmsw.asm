; LMSW sets TS, and cannot clear PE.
; mode:    protected32
; out:     rax=0x3b rbx=0x3b
    mov eax, 0x0a
    lmsw ax
    smsw eax
    mov ebx, cr0
    clts
    hlt
