; Loading a segment sets the accessed bit in its descriptor.
; mode:    protected32
; in:      mem64[0x6040]=0x00cf92000000ffff
; out:     mem64[0x6040]=0x00cf93000000ffff
    mov eax, 0x40
    mov fs, eax
    hlt
