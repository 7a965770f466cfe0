; SPDX-License-Identifier: Apache-2.0
; NRV2E with 32-bit little-endian bit buffers. The loader puts the packed input at IN.
%include "hdr.inc"
%macro getbit 0
      add ebx,ebx
      jnz %%ok
      mov ebx,[esi]
      sub esi,-4
      adc ebx,ebx
%%ok:
%endmacro
start: mov dword [REPS],2
rep_: mov esi,IN
      mov edi,OUT
      or ebp,-1
      xor ebx,ebx
      jmp dec_
lit:  mov al,[esi]
      inc esi
      mov [edi],al
      inc edi
dec_: getbit
      jc lit
      mov eax,1
.l1:  getbit
      adc eax,eax
      getbit
      jc .br
      dec eax
      getbit
      adc eax,eax
      jmp .l1
.br:  xor ecx,ecx
      sub eax,3
      jb .reuse
      shl eax,8
      mov al,[esi]
      inc esi
      xor eax,-1
      jz .end
      sar eax,1
      mov ebp,eax
      jmp .flag
.reuse: getbit
.flag: adc ecx,ecx
      jnz .len1
      getbit
      jc .len3
      inc ecx
.ll:  getbit
      adc ecx,ecx
      getbit
      jnc .ll
      add ecx,3
      jmp .got
.len3: mov ecx,1
      getbit
      adc ecx,ecx
      inc ecx
      jmp .got
.len1: getbit
      adc ecx,0
.got: cmp ebp,-0x500
      adc ecx,1
      lea edx,[edi+ebp]
.cp:  mov al,[edx]
      inc edx
      mov [edi],al
      inc edi
      dec ecx
      jnz .cp
      jmp dec_
.end: dec dword [REPS]
      jnz rep_
%include "end.inc"
