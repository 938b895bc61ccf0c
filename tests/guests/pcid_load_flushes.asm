; A load of CR3 without bit 63 flushes what is known of the PCID that it names, global pages apart.
; needs:   pcid
; mode:    long64
; in:      mem32[0x60000]=0x11 mem32[0x61000]=0x22
; out:     rbx=0x11 rcx=0x22 rdx=0x22
    mov rax, cr4
    or eax, 1 << 17
    mov cr4, rax
    mov r12d, 0x1001
    mov cr3, r12
    mov ebx, [0x60000]
    mov dword [PT + 0x60 * 8], 0x61007
    ; Over another PCID and back.
    mov eax, 0x1002
    mov cr3, rax
    mov ecx, [0x60000]
    mov cr3, r12
    mov edx, [0x60000]
    hlt
