; LAR and LSL of a code segment, and of a null selector.
; mode:    protected32
; in:      rcx=0x77777777
; out:     rax=0xc09b00 rbx=0xffffffff rcx=0x77777777 rdx=1 rsi=0
    mov edi, CODE32_SEL
    lar eax, edi
    setz dl
    movzx edx, dl
    lsl ebx, edi
    xor edi, edi
    lar ecx, edi
    setz cl
    mov esi, 0
    mov cl, 0x77
    hlt
