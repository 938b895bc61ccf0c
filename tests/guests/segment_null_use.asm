; Loading a null selector is allowed, using it is not.
; mode:    protected32
; out:     trap=GP error=0 rbx=0
    xor ebx, ebx
    mov es, ebx
    mov al, [es:0]
    hlt
