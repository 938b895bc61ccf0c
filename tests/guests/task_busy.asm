; A busy TSS: #GP(TSS selector).
; mode:    protected32
; out:     trap=GP error=0x38
    jmp 0x38:0
