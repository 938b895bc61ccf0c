; A kernel that looks after its memory: adds one to a word of each of 64 pages, over and over, having looked whether it
; is what it should be, and looks whether a row of pages is still the pattern that it was filled with. Says a dot after
; each round, and X when something is not.
bits 32
PAGES   equ 400000h
ROW     equ 500000h
PATTERN equ 5a5aa5a5h
COUNT   equ 64
; A MiB.
WORDS   equ 40000h

        cld
        mov eax, PATTERN
        mov edi, ROW
        mov ecx, WORDS
        rep stosd
        xor ebx, ebx
round:  mov edi, PAGES
        mov ecx, COUNT
next:   cmp [edi], ebx
        jne bad
        inc dword [edi]
        ; So no page is like another.
        mov [edi + 8], edi
        add edi, 4096
        dec ecx
        jnz next
        inc ebx
        mov eax, PATTERN
        mov edi, ROW
        mov ecx, WORDS
        repe scasd
        jne bad
        mov al, '.'
        mov dx, 3f8h
        out dx, al
        jmp round
bad:    mov al, 'X'
        mov dx, 3f8h
        out dx, al
stop:   hlt
        jmp stop
