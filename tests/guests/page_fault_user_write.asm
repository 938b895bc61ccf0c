; Ring 3 writes a page that is the supervisor's: present, write, user.
; mode:    long64
; in:      mem64[0x4100]=0x20003
; out:     trap=PF error=7 cr2=0x20008
    push qword USER_DATA_SEL
    push qword 0x18000
    push qword 2
    push qword USER_CODE64_SEL
    lea rax, [user]
    push rax
    iretq
user:
    mov dword [DATA + 8], 1
    hlt
