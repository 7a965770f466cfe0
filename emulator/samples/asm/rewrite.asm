; SPDX-License-Identifier: Apache-2.0
; The page changes between the event and the copy: the payload runs and is overwritten with zeros at once, so
; only a snapshot taken at the event holds the marker.
%import kernel32.dll ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0x99

%section .pack rwx
payload:
  mov eax, wipe
  jmp eax
  %marker
payload_end:

%section .text rx
start:
  mov esi, payload
  mov ecx, payload_end
  sub ecx, esi
decrypt:
  xor byte ptr [esi], 0x99
  inc esi
  dec ecx
  jnz decrypt
  mov eax, payload
  jmp eax
wipe:
  mov edi, payload
  mov ecx, payload_end
  sub ecx, edi
  xor eax, eax
  rep stosb
  push 0
  call dword ptr [ExitProcess]
