; mode:    real16
; out:     rax=0x1234 rcx=0x900 rsp=0x10000 rdx=0
    xor sp, sp
    xor dx, dx
    call 0x700:(target - 0x7000)
    add sp, 0
    mov esp, 0x10000
    hlt
target:
    mov ax, 0x1234
    mov bp, sp
    mov cx, [bp + 2]
    add cx, 0x900
    retf
