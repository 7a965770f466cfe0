; SPDX-License-Identifier: Apache-2.0
; RC4 keystream over 8 MB (in place, at OUT)
%include "hdr.inc"
start: mov ebp,SBOX
      xor eax,eax
.i:   mov [ebp+eax],al
      inc al
      jnz .i
      xor ebx,ebx
      xor edx,edx
.k:   mov al,[ebp+ebx]
      add dl,al
      mov ecx,ebx
      and ecx,15
      add dl,[key+ecx]
      mov cl,[ebp+edx]
      mov [ebp+ebx],cl
      mov [ebp+edx],al
      inc bl
      jnz .k
      xor eax,eax
      xor ebx,ebx
      xor ecx,ecx
      xor edx,edx
      mov esi,OUT
      mov edi,8*1024*1024
align 16
.l:   inc bl
      mov al,[ebp+ebx]
      add dl,al
      mov cl,[ebp+edx]
      mov [ebp+ebx],cl
      mov [ebp+edx],al
      add al,cl
      mov al,[ebp+eax]
      xor [esi],al
      inc esi
      dec edi
      jnz .l
      jmp done
key: db "0123456789abcdef"
%include "end.inc"
