; SPDX-License-Identifier: Apache-2.0
; Decrypts itself in place as inplace.asm does; the payload tells idle.asm that it ran.
%import kernel32.dll CreateEventA, SetEvent, Sleep, ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0x3c

%section .pack rwx
payload:
  push 100                     ; by then the other one waits
  call dword ptr [Sleep]
  mov eax, name
  push eax
  push 0
  push 1
  push 0
  call dword ptr [CreateEventA]
  push eax
  call dword ptr [SetEvent]
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:

%section .text rx
start:
  mov esi, payload
decrypt:
  xor byte ptr [esi], 0x3c
  inc esi
  cmp esi, payload_end
  jb decrypt
  mov eax, payload
  jmp eax

%section .data rw
name:
  .asciz "umbra: unpacked"
