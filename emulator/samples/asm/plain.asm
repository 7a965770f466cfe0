; SPDX-License-Identifier: Apache-2.0
; The control: a program that hides nothing. It adds up its own code, asks for the time and ends.
%import kernel32.dll GetTickCount, lstrlenA, ExitProcess
%entry start

%section .text rx
start:
  mov esi, start
  mov ecx, finish
  sub ecx, esi
  xor eax, eax
add_up:
  movzx edx, byte ptr [esi]
  add eax, edx
  inc esi
  dec ecx
  jnz add_up
  mov dword ptr [total], eax
  call dword ptr [GetTickCount]
  mov eax, greeting
  push eax
  call dword ptr [lstrlenA]
finish:
  push 0
  call dword ptr [ExitProcess]

%section .data rw
total:
  .long 0
greeting:
  .asciz "nothing to see here"
