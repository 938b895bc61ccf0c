; needs:   aes
; mode:    long64
; in:      xmm0=0x7b5b54657374566563746f725d53475d xmm1=0x48692853686179295b477565726f6e5d
; out:     xmm0=0xa8311c2f9fdba3c58b104b58ded7e595
    aesenc xmm0, xmm1
    hlt
