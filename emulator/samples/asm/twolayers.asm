; SPDX-License-Identifier: Apache-2.0
; Two layers: the outer payload is decrypted into fresh memory and, running there, decrypts the inner one into
; memory of its own. Only the second layer holds the marker.
%import kernel32.dll VirtualAlloc, ExitProcess
%entry start
%payload inner inner_end
%encrypt inner inner_end 0x51
%encrypt outer outer_end 0xc6

%section .text rx
start:
  push 0x40                    ; PAGE_EXECUTE_READWRITE
  push 0x3000
  push 0x1000
  push 0
  call dword ptr [VirtualAlloc]
  test eax, eax
  jz failed
  mov ebx, eax
  mov edi, eax
  mov esi, outer
  mov ecx, outer_end
  sub ecx, esi
decrypt_outer:
  mov al, byte ptr [esi]
  xor al, 0xc6
  mov byte ptr [edi], al
  inc esi
  inc edi
  dec ecx
  jnz decrypt_outer
  jmp ebx
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
; Entered with EBX at its first byte, wherever that is.
outer:
  push 0x40
  push 0x3000
  push 0x1000
  push 0
  call dword ptr [VirtualAlloc]
  test eax, eax
  jz outer_failed
  mov edi, eax
  push eax
  mov esi, inner
  mov ecx, outer
  sub esi, ecx
  add esi, ebx
  mov ecx, inner_end
  mov eax, inner
  sub ecx, eax
decrypt_inner:
  mov al, byte ptr [esi]
  xor al, 0x51
  mov byte ptr [edi], al
  inc esi
  inc edi
  dec ecx
  jnz decrypt_inner
  ret                          ; to the inner payload
outer_failed:
  push 1
  call dword ptr [ExitProcess]
inner:
  push 0
  call dword ptr [ExitProcess]
  %marker
inner_end:
outer_end:
