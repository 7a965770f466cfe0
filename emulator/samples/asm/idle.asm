; SPDX-License-Identifier: Apache-2.0
; The harmless one of two: waits until the other program (apart.asm) has unpacked itself, and ends.
%import kernel32.dll CreateEventA, WaitForSingleObject, ExitProcess
%entry start

%section .text rx
start:
  mov eax, name
  push eax
  push 0
  push 1                       ; stays set
  push 0
  call dword ptr [CreateEventA]
  test eax, eax
  jz failed
  push -1                      ; INFINITE
  push eax
  call dword ptr [WaitForSingleObject]
  test eax, eax
  jnz failed
  push 0
  call dword ptr [ExitProcess]
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
name:
  .asciz "umbra: unpacked"
