; SPDX-License-Identifier: Apache-2.0
; Byte-wise LZ: a control byte (0 ends, 1..127 literals follow, 0x80|n copies n+3 bytes from a 16-bit distance).
; The loader puts the packed input at IN.
%include "hdr.inc"
start: mov dword [REPS],4
rep_: mov esi,IN
      mov edi,OUT
next: movzx ecx,byte [esi]
      inc esi
      test cl,cl
      js .match
      jz .end
.lit: mov al,[esi]
      inc esi
      mov [edi],al
      inc edi
      dec ecx
      jnz .lit
      jmp next
.match: and ecx,0x7f
      add ecx,3
      movzx edx,word [esi]
      add esi,2
      mov ebx,edi
      sub ebx,edx
.cp:  mov al,[ebx]
      inc ebx
      mov [edi],al
      inc edi
      dec ecx
      jnz .cp
      jmp next
.end: dec dword [REPS]
      jnz rep_
%include "end.inc"
