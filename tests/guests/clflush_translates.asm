; CLFLUSH of a page that is not there faults as a load does.
; mode:    long64
; out:     trap=PF error=0 cr2=0x200000
    mov ebx, 0x200000
    clflush [rbx]
    hlt
