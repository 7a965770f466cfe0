; SPDX-License-Identifier: Apache-2.0
; VirtualProtect flip: a code section that is never writable and executable at once. It is made writable,
; decrypted, made executable again and run.
%import kernel32.dll VirtualProtect, ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0x75

%section .hidden rx
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:

%section .text rx
start:
  push old
  push 4                       ; PAGE_READWRITE
  push 0x1000
  push payload
  call dword ptr [VirtualProtect]
  test eax, eax
  jz failed
  cmp dword ptr [old], 0x20    ; it was PAGE_EXECUTE_READ
  jne failed
  mov esi, payload
decrypt:
  xor byte ptr [esi], 0x75
  inc esi
  cmp esi, payload_end
  jb decrypt
  push old
  push 0x20                    ; PAGE_EXECUTE_READ
  push 0x1000
  push payload
  call dword ptr [VirtualProtect]
  test eax, eax
  jz failed
  mov eax, payload
  jmp eax
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
old:
  .long 0
