"""Remote framebuffers: the protocol of VNC viewers. Spec: RFC 6143; The RFB Protocol (rfbproto)."""
