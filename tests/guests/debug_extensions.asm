; DR4 with CR4.DE set: #UD.
; mode:    long64
; out:     trap=UD
    mov rax, cr4
    or eax, 8
    mov cr4, rax
    mov rax, dr4
