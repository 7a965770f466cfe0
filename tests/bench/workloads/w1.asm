; SPDX-License-Identifier: Apache-2.0
%include "hdr.inc"
start: mov ecx,40000000
      mov eax,0x12345678
      mov ebx,0x9abcdef0
align 16
.l:   add eax,ecx
      xor ebx,eax
      rol eax,5
      dec ecx
      jnz .l
      mov [OUT],eax
      mov [OUT+4],ebx
%include "end.inc"
