; MMX registers are the x87's physical ones; MMX makes the top 0 and all registers valid, EMMS all empty.
; mode:    long64
; out:     rax=0x8000000000000000 rdx=0x1234567812345678 mem16[0x20004]=0 mem16[0x20008]=0x1565 mem16[0x20048]=0xffff
    fninit
    fld1
    fldz
    mov ebx, 0x12345678
    movd mm2, ebx
    punpckldq mm2, mm2
    movq rdx, mm2
    movq rax, mm7
    fnstenv [DATA]
    emms
    fnstenv [DATA + 0x40]
    hlt
