; LTR of a busy TSS: #GP(selector).
; mode:    protected32
; out:     trap=GP error=0x38
    mov eax, TSS_SEL
    ltr ax
