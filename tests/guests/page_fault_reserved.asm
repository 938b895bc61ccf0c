; A reserved bit in the entry of a large page.
; mode:    long64
; in:      mem64[0x5000]=0x00000000c0002083
; out:     trap=PF error=9 cr2=0xc0000010
    mov rbx, 0xc0000010
    mov al, [rbx]
    hlt
