; A vector beyond the IDT's limit: #GP(vector, IDT).
; mode:    long64
; out:     trap=GP error=0x7fa
    mov word [DATA], 0x80 * 16 - 1
    mov qword [DATA + 2], 0x7000
    lidt [DATA]
    int 0xff
