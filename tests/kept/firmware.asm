; Firmware of 64 KiB that looks after devices of the old world: says what they shall be, and then over and over writes
; the number of each round to a sector of the IDE disk, reads it back, and adds one to it in memory and in video memory.
; Says a dot after each round, and X when something is not.
bits 16
cpu 386
org 0
SECTOR  equ 8000h
BACK    equ 8200h
COUNT   equ 7000h
VIDEO   equ 0a000h
; Registers of the first disk of the IDE controller.
DATA    equ 1f0h
STATUS  equ 1f7h
; Where the regions of PCI functions go, 16 MiB and 256 ports apart.
MEMORY  equ 0e000h
PORTS   equ 0c000h

%macro  outb 2
        mov dx, %1
        mov al, %2
        out dx, al
%endmacro
%macro  outw 2
        mov dx, %1
        mov ax, %2
        out dx, ax
%endmacro

start:  cli
        cld
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 7000h
        ; Interrupt controllers: vectors from 8 and 70h on, all masked but the timer.
        outb 20h, 11h
        outb 21h, 8
        outb 21h, 4
        outb 21h, 1
        outb 21h, 0feh
        outb 0a0h, 11h
        outb 0a1h, 70h
        outb 0a1h, 2
        outb 0a1h, 1
        outb 0a1h, 0ffh
        ; The timer: 1 kHz, square wave.
        outb 43h, 36h
        outb 40h, 0a9h
        outb 40h, 4
        ; The keyboard's lights, and its translation.
        outb 60h, 0edh
        outb 60h, 7
        outb 64h, 60h
        outb 60h, 45h
        ; A byte of the CMOS, and its periodic interrupt's rate.
        outb 70h, 40h
        outb 71h, 5ah
        outb 70h, 0ah
        outb 71h, 2ah
        ; The floppy drive is reset and its motor turned on; a page of its DMA channel.
        outb 3f2h, 0
        outb 3f2h, 1ch
        outb 81h, 2
        outb 0bh, 46h
        ; 320 by 200 pixels of 8 bits, by its VBE registers, and a colour.
        outw 1ceh, 1
        outw 1cfh, 320
        outw 1ceh, 2
        outw 1cfh, 200
        outw 1ceh, 3
        outw 1cfh, 8
        outw 1ceh, 4
        outw 1cfh, 1
        outb 3c8h, 7
        outb 3c9h, 11
        outb 3c9h, 22
        outb 3c9h, 33
        ; The first region of each PCI function 0, and its commands. BP: the device.
        xor bp, bp
place:  mov di, 10h
        call config
        mov dx, 0cfch
        in eax, dx
        test al, 1
        jnz ports
        mov eax, ebp
        shl eax, 24
        add eax, MEMORY << 16
        jmp set
ports:  movzx eax, bp
        shl eax, 8
        add eax, PORTS
set:    out dx, eax
        mov di, 4
        call config
        mov ax, 7
        mov dx, 0cfch
        out dx, ax
        inc bp
        cmp bp, 32
        jne place

        xor ebp, ebp
        mov [COUNT], bp
        push VIDEO
        pop fs
        mov [fs:320], bp
round:  cmp [COUNT], bp
        jne bad
        cmp [fs:320], bp
        jne bad
        inc bp
        mov [COUNT], bp
        mov [fs:320], bp
        mov ax, bp
        mov di, SECTOR
        mov cx, 256
        rep stosw
        mov ah, 30h
        call command
        mov si, SECTOR
        mov cx, 256
        mov dx, DATA
        rep outsw
        call ready
        mov ah, 20h
        call command
        mov di, BACK
        mov cx, 256
        mov dx, DATA
        rep insw
        mov si, SECTOR
        mov di, BACK
        mov cx, 256
        repe cmpsw
        jne bad
        mov al, '.'
say:    mov dx, 3f8h
        out dx, al
        jmp round
bad:    mov al, 'X'
        jmp say

; AH: a command for the second sector, which then wants data.
command:
        outb DATA + 6, 0e0h
        outb DATA + 2, 1
        outb DATA + 3, 1
        outb DATA + 4, 0
        outb DATA + 5, 0
        outb STATUS, ah
data:   in al, dx
        test al, 80h
        jnz data
        test al, 8
        jz data
        ret
; Until the command is done.
ready:  mov dx, STATUS
        in al, dx
        test al, 80h
        jnz ready
        ret
; Register DI of function 0 of device BP comes next.
config: movzx eax, bp
        shl eax, 11
        or eax, 80000000h
        or ax, di
        mov dx, 0cf8h
        out dx, eax
        ret

        times 0fff0h-($-$$) db 0f4h
        jmp 0f000h:start
        times 10000h-($-$$) db 0
