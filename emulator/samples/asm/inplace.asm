; SPDX-License-Identifier: Apache-2.0
; S2: the payload stands encrypted in a section that may be read, written and executed; it is decrypted where
; it stands and jumped to, as packers do.
%import kernel32.dll ExitProcess
%entry start
%encrypt payload payload_end 0x3c

%section .pack rwx
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:

%section .text rx
start:
  mov esi, payload
  mov ecx, payload_end
  sub ecx, esi
decrypt:
  xor byte ptr [esi], 0x3c
  inc esi
  dec ecx
  jnz decrypt
  mov eax, payload
  jmp eax
