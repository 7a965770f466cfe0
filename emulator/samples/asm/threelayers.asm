; SPDX-License-Identifier: Apache-2.0
; Three layers: each payload is decrypted in place with the key that the one before leaves behind, and
; decrypts the next. Only the third holds the marker.
%import kernel32.dll ExitProcess
%entry start
%payload third third_end
%encrypt third third_end 0x13
%encrypt second third_end 0x57
%encrypt first third_end 0xa9

%section .pack rwx
first:
  mov esi, second
  mov dl, 0x57
  push esi
  mov eax, decrypt
  jmp eax
second:
  mov esi, third
  mov dl, 0x13
  push esi
  mov eax, decrypt
  jmp eax
third:
  push 0
  call dword ptr [ExitProcess]
  %marker
third_end:

%section .text rx
start:
  mov esi, first
  mov dl, 0xa9
  push esi
; Decrypts from ESI to the end of the payload with DL, and returns.
decrypt:
  xor byte ptr [esi], dl
  inc esi
  cmp esi, third_end
  jb decrypt
  ret
