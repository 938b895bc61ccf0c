; Firmware that is the hostile guest: what lies before it in the ROM goes to 1 MiB, and is entered as a PVH kernel is.
; Spec: Intel SDM volume 3, "First Instruction Executed".
;
; nasm -D SIZE=bytes-of-the-rom -D LENGTH=bytes-to-copy -D ENTRY=address
bits 16
org 0xff00
begin:  cli
        o32 lgdt [cs:table]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 8:0xffff0000 + flat
bits 32
flat:   mov ax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
        cld
        mov esi, 0x1_0000_0000 - SIZE
        mov edi, 0x10_0000
        mov ecx, LENGTH / 4
        rep movsd
        mov eax, ENTRY
        jmp eax
align 8
entries:
        dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
table:  dw 23
        dd 0xffff0000 + entries
        times 0xf0-($-$$) db 0
bits 16
        jmp begin
        times 0x100-($-$$) db 0
