; BTS with a register index reaches beyond its operand.
; mode:    long64
; in:      rbx=0x20000 rcx=77 mem64[0x20008]=0
; out:     mem64[0x20008]=0x2000 rdx=1
    bts [rbx], rcx
    bt [rbx], rcx
    setc dl
    movzx edx, dl
    hlt
