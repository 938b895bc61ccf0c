; What this machine has not: each is #UD, counted by a handler that goes on after it.
; mode:    long64
; out:     rax=20 rbx=0
%macro try 1+
    lea r15, [%%next]
    %1
    inc ebx
%%next:
%endmacro
    lea rax, [handler]
    mov [abs 0x7000 + 6 * 16], ax
    xor eax, eax
    xor ebx, ebx
    mov ecx, DATA
    try db 0x0f, 0xaa               ; rsm
    try vmxoff
    try vmread rdx, rdx
    try db 0xf3, 0x0f, 0xc7, 0x31   ; vmxon [rcx]
    try vmrun
    try stgi
    try db 0x0f, 0x37               ; getsec
    try db 0x0f, 0x01, 0xcf         ; encls
    try db 0x0f, 0x01, 0xd7         ; enclu
    try db 0x0f, 0x01, 0xc0         ; enclv
    try db 0xf3, 0x0f, 0xae, 0x21   ; ptwrite [rcx]
    try db 0xf3, 0x0f, 0xae, 0xe8   ; incsspd eax
    try db 0xf3, 0x0f, 0x01, 0x29   ; rstorssp [rcx]
    try db 0xf3, 0x0f, 0x01, 0xea   ; saveprevssp
    try db 0x0f, 0x01, 0xc8         ; monitor
    try db 0x66, 0x0f, 0xae, 0xf1   ; tpause ecx
    try ud2
    try db 0x0f, 0xff, 0xc0         ; ud0
    try db 0x0f, 0xb9, 0xc0         ; ud1
    try db 0x0f, 0x01, 0xd5         ; xend
    hlt
handler:
    inc eax
    mov [rsp], r15
    iretq
