; SPDX-License-Identifier: Apache-2.0
; A second mapping: the payload is written through one view of a section and run through another, so the page
; that runs was never written at its own address.
%import kernel32.dll CreateFileMappingA, MapViewOfFile, ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0x6e

%section .text rx
start:
  push 0                       ; no name
  push 0x1000                  ; size
  push 0
  push 0x40                    ; PAGE_EXECUTE_READWRITE
  push 0
  push -1                      ; INVALID_HANDLE_VALUE: backed by the paging file
  call dword ptr [CreateFileMappingA]
  test eax, eax
  jz failed
  mov ebp, eax
  push 0x1000
  push 0
  push 0
  push 2                       ; FILE_MAP_WRITE
  push ebp
  call dword ptr [MapViewOfFile]
  test eax, eax
  jz failed
  mov edi, eax
  push 0x1000
  push 0
  push 0
  push 0x24                    ; FILE_MAP_READ | FILE_MAP_EXECUTE
  push ebp
  call dword ptr [MapViewOfFile]
  test eax, eax
  jz failed
  mov ebx, eax
  mov esi, payload
  mov ecx, payload_end
  sub ecx, esi
decrypt:
  mov al, byte ptr [esi]
  xor al, 0x6e
  mov byte ptr [edi], al
  inc esi
  inc edi
  dec ecx
  jnz decrypt
  jmp ebx
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:
