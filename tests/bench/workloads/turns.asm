; SPDX-License-Identifier: Apache-2.0
; A page that rewrites and runs itself 100,000 times: each round stores into the instruction behind the store.
%include "hdr.inc"
start: mov ecx,100000
      xor eax,eax
      xor edx,edx
.l:   mov [.code+1],cl
.code: mov al,0
      lea edx,[edx+edx*2]
      add edx,eax
      dec ecx
      jnz .l
      mov [OUT],edx
%include "end.inc"
