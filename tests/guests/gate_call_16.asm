; A 16-bit call gate at the same privilege pushes two words and cuts the offset.
; mode:    protected32
; in:      mem64[0x6040]=0xffff840000180000
; out:     rax=0x18 rbx=0xfffc rsp=0x10000
    mov eax, inner
    mov [0x6040], ax
    call 0x40:0xdeadbeef
    hlt
inner:
    mov ebx, esp
    movzx eax, word [esp + 2]
    o16 retf
