; T bit of the new TSS: #DB before the task's first instruction, with BT in DR6.
; mode:    protected32
; out:     trap=DB rbx=0
    mov dword [0x6600 + 0x20], task
    mov dword [0x6600 + 0x24], 2
    mov dword [0x6600 + 0x28], 0xaaaa
    mov dword [0x6600 + 0x38], 0x18000
    mov dword [0x6600 + 0x48], DATA_SEL
    mov dword [0x6600 + 0x4c], CODE32_SEL
    mov dword [0x6600 + 0x50], DATA_SEL
    mov dword [0x6600 + 0x54], DATA_SEL
    mov dword [0x6600 + 0x58], 0
    mov dword [0x6600 + 0x5c], 0
    mov dword [0x6600 + 0x60], 0
    mov dword [0x6600 + 0x64], 0x680000
    mov dword [0x6048], 0x66000067
    mov dword [0x604c], 0x8900
    lgdt [gdtr]
    mov byte [0x6600 + 0x64], 1
    jmp 0x48:0
task:
    hlt
gdtr:
    dw 11 * 8 - 1
    dd 0x6000
