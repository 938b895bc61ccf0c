; The TSS's I/O bitmap allows port F4h to ring 3 and forbids F3h.
; mode:    protected32
; out:     trap=GP error=0 rbx=1
    mov edi, 0x6600
    mov ecx, 0x100 / 4
    mov eax, -1
    rep stosd
    mov dword [0x6604], 0x10000
    mov dword [0x6608], DATA_SEL
    mov word [0x6666], 0x68
    mov byte [0x6668 + 0x1e], 0xfe
    mov dword [0x6048], 0x66000087
    mov dword [0x604c], 0x8900
    lgdt [gdtr]
    mov eax, 0x48
    ltr ax
    push dword USER_DATA_SEL
    push dword 0x18000
    push dword 0x33
    push dword user
    retf
user:
    mov ebx, 1
    in al, 0xf3
gdtr:
    dw 10 * 8 - 1
    dd 0x6000
