; PAE, LME, PG, and a far jump into 64-bit code, over the bench's page tables.
; mode:    protected32
; out:     rax=0x123456789abcdef0 efer=0x500
    mov eax, cr4
    or eax, 1 << 5
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 1 << 8
    wrmsr
    mov eax, 0x1000
    mov cr3, eax
    call tables
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
    jmp CODE64_SEL:start_64
tables:
    ret
bits 64
start_64:
    mov rax, 0x123456789abcdef0
    hlt
