; SPDX-License-Identifier: Apache-2.0
; Decrypt, run, encrypt again: a function is in the clear only while it runs. Two functions share the
; decryptor; at no time do both stand in the clear, at the end neither does.
%import kernel32.dll ExitProcess
%entry start
%payload first first_end
%payload second second_end
%encrypt first first_end 0x91
%encrypt second second_end 0x92

%section .pack rwx
first:
  mov eax, 7
  ret
  %marker
first_end:
  .p2align 4, 0xcc
second:
  add eax, 35
  ret
  %marker
second_end:

%section .text rx
start:
  mov esi, first
  mov edi, first_end
  mov dl, 0x91
  call run
  mov esi, second
  mov edi, second_end
  mov dl, 0x92
  call run
  sub eax, 42
  push eax
  call dword ptr [ExitProcess]
; Decrypts what lies from ESI to EDI with DL, calls it, encrypts it again. EAX goes in and comes out.
run:
  call toggle
  call esi
toggle:
  mov ecx, esi
next:
  xor byte ptr [ecx], dl
  inc ecx
  cmp ecx, edi
  jb next
  ret
