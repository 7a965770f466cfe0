; SPDX-License-Identifier: Apache-2.0
; S2: a section that may be read, written and executed is decrypted where it stands, in two goes. The first part
; runs (the page turns to code), then the second is written into the same page and run (it turns to code again).
%import kernel32.dll ExitProcess
%entry start
%payload payload payload_end
%encrypt first first_end 0x3c
%encrypt payload payload_end 0x3c

%section .pack rwx
first:
  mov ebx, payload
  ret
first_end:
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:

%section .text rx
start:
  mov esi, first
  mov edi, first_end
  call decrypt
  mov eax, first
  call eax
  mov esi, payload
  mov edi, payload_end
  call decrypt
  jmp ebx
decrypt:
  xor byte ptr [esi], 0x3c
  inc esi
  cmp esi, edi
  jb decrypt
  ret
