; Conforming code runs at the caller's privilege.
; mode:    protected32
; in:      mem64[0x6040]=0x00cf9f000000ffff
; out:     trap=GP error=0 rax=0x43
    push dword USER_DATA_SEL
    push dword 0x18000
    push dword 0x33
    push dword user
    retf
user:
    call 0x40:conforming
conforming:
    mov eax, cs
    hlt
