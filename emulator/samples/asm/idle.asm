; SPDX-License-Identifier: Apache-2.0
; Company for the others: sleeps a few times and ends, without ever changing its own memory.
%import kernel32.dll Sleep, ExitProcess
%entry start

%section .text rx
start:
  mov ebx, 5
again:
  push 10
  call dword ptr [Sleep]
  dec ebx
  jnz again
  push 0
  call dword ptr [ExitProcess]
