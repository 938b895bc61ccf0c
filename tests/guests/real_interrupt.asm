; INT pushes FLAGS, CS, IP and clears IF; IRET brings them back.
; mode:    real16
; out:     rbx=0x8010 rcx=0x202
    cli
    mov word [0x60 * 4], handler
    mov word [0x60 * 4 + 2], 0
    sti
    int 0x60
after:
    cli
    hlt
handler:
    mov bp, sp
    mov bx, [bp]
    mov cx, [bp + 4]
    pushf
    pop dx
    iret
