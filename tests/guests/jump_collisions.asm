; Calls of four addresses that a translator's table of jumps may have little room for: three share a slot,
; and the fourth has the slot beside it. One of the functions is replaced on the way.
; mode:    long64
; in:      mem32[0x60000]=0xc301c083 mem32[0x6a7e7]=0xc310c383 mem32[0x76d0d]=0xc301c683 mem32[0x622c3]=0xc301c783
; out:     rax=200 rbx=0x890 rsi=200 rdi=200
    xor eax, eax
    xor ebx, ebx
    xor esi, esi
    xor edi, edi
    mov r8d, 0x60000
    mov r9d, 0x6a7e7
    mov r10d, 0x76d0d
    mov r11d, 0x622c3
    mov ebp, 100
round:
    call r8
    call r9
    call r10
    call r11
    call r9
    call r11
    call r8
    call r10
    cmp ebp, 37
    jne same
    ; add ebx, 10h becomes add ebx, 2
    mov byte [r9 + 2], 2
same:
    dec ebp
    jnz round
    hlt
