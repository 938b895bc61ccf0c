; JMP may not go inwards through a call gate: #GP(code selector).
; mode:    protected32
; out:     trap=GP error=0x18
    mov dword [0x6048], 0x00180000 + 0x8000 + inner - $$
    mov dword [0x604c], 0xec00
    lgdt [gdtr]
    push dword USER_DATA_SEL
    push dword 0x18000
    push dword 0x33
    push dword user
    retf
user:
    jmp 0x4b:0
inner:
    hlt
gdtr:
    dw 10 * 8 - 1
    dd 0x6000
