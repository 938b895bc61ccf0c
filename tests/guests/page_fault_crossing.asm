; The second page of a crossing store is missing: CR2 is its first byte, and nothing was written.
; mode:    long64
; in:      mem64[0x4108]=0 mem32[0x20ffc]=0x11111111
; out:     trap=PF error=2 cr2=0x21000 mem32[0x20ffc]=0x11111111
    mov rax, 0x2222222222222222
    mov [DATA + 0xffc], rax
    hlt
