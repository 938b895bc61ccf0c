; mode:    protected32
; in:      rax=1 rcx=2 rdx=3 rbx=4 rbp=5 rsi=6 rdi=7
; out:     rax=1 rdi=7 rsp=0x10000 mem32[0xffec]=0x10000 mem32[0xfffc]=1 mem32[0xffe0]=7
    pushad
    xor eax, eax
    xor edi, edi
    popad
    hlt
