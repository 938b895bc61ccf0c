; FLDCW between stores: 2.5 and -2.5 to integers, to nearest, down, up and towards zero. The masks stay.
; mode:    long64
; out:     mem64[0x20100]=0xfffd0002fffe0002 mem64[0x20108]=0xfffe0002fffe0003
; out:     mem16[0x20000]=0xf7f rcx=0
    fninit
    mov word [DATA + 0x10], 5
    fild word [DATA + 0x10]
    fld1
    fadd st0, st0
    fdivp st1, st0
    fnstcw [DATA]
    xor ecx, ecx
    mov ebx, DATA + 0x100
again:
    fldcw [DATA]
    fist word [rbx]
    fchs
    fist word [rbx + 2]
    fchs
    add ebx, 4
    add word [DATA], 0x400
    cmp word [DATA], 0x137f
    jne again
    fnstcw [DATA]
    hlt
