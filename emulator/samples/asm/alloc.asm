; SPDX-License-Identifier: Apache-2.0
; S1: the payload is decrypted into fresh memory (read, write), which VirtualProtect then makes executable.
%import kernel32.dll VirtualAlloc, VirtualProtect, ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0xa7

%section .text rx
start:
  push 4                       ; PAGE_READWRITE
  push 0x3000                  ; MEM_COMMIT | MEM_RESERVE
  push 0x1000
  push 0
  call dword ptr [VirtualAlloc]
  test eax, eax
  jz failed
  mov ebx, eax
  mov edi, eax
  mov esi, payload
  mov ecx, payload_end
  sub ecx, esi
decrypt:
  mov al, byte ptr [esi]
  xor al, 0xa7
  mov byte ptr [edi], al
  inc esi
  inc edi
  dec ecx
  jnz decrypt
  mov eax, old
  push eax
  push 0x20                    ; PAGE_EXECUTE_READ
  push 0x1000
  push ebx
  call dword ptr [VirtualProtect]
  test eax, eax
  jz failed
  jmp ebx
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
old:
  .long 0
; Runs wherever it is copied to: it only uses the import table, whose address is fixed.
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:
