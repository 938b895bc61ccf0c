; #GP while a page fault is delivered: a double fault; CR2 keeps the address.
; mode:    long64
; out:     trap=DF error=0 cr2=0x200000
    mov byte [0x7000 + 14 * 16 + 2], 0xf8
    mov ebx, 0x200000
    mov al, [rbx]
    hlt
