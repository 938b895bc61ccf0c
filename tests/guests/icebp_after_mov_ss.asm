; A data breakpoint that MOV SS holds off is told by the #DB of an INT1 after it, not by one more.
; mode:    long64
; in:      mem16[0x20000]=0x10
; out:     rcx=1 rbx=0xffff0ff1 rdx=1
    mov word [0x7010], handler      ; the IDT is at 7000h, its stubs below 64 KiB
    mov eax, DATA
    mov dr0, rax
    mov eax, 0x70402
    mov dr7, rax
    xor ecx, ecx
    xor edx, edx
    mov ss, [DATA]
    int1
after:
    hlt
handler:
    inc ecx
    mov rbx, dr6
    lea rax, [after]
    cmp rax, [rsp]
    sete dl
    iretq
