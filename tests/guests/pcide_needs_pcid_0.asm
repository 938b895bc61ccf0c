; CR4.PCIDE may be set only while PCID 0 is current: #GP(0).
; needs:   pcid
; mode:    long64
; out:     trap=GP error=0
    mov eax, 0x1008
    mov cr3, rax
    mov rax, cr4
    or eax, 1 << 17
    mov cr4, rax
