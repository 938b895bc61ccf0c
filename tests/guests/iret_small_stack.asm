; IRET to a 16-bit stack loads SP only: ESP's upper half is what it was.
; mode:    protected32
; in:      mem64[0x6040]=0x0000f2000000ffff
; out:     trap=GP error=0 rbx=0x15678
    mov esp, 0x18000
    push dword 0x43
    push dword 0xabcd5678
    push dword 2
    push dword 0x33
    push dword user
    iret
user:
    mov ebx, esp
    hlt
