; SPDX-License-Identifier: Apache-2.0
; Page by page on guard faults: three pages of code under PAGE_GUARD. Each touch raises
; STATUS_GUARD_PAGE_VIOLATION, and the vectored handler decrypts the page that was touched, no other.
%import kernel32.dll AddVectoredExceptionHandler, VirtualProtect, ExitProcess
%entry start
%payload first first_end
%payload second second_end
%payload third third_end
%encrypt first first_end 0x2b
%encrypt second second_end 0x2b
%encrypt third third_end 0x2b

%section .pack rwx
first:
  mov eax, second
  jmp eax
  %marker
first_end:
  .p2align 12, 0
second:
  mov eax, third
  jmp eax
  %marker
second_end:
  .p2align 12, 0
third:
  push 0
  call dword ptr [ExitProcess]
  %marker
third_end:

%section .text rx
start:
  push handler
  push 1
  call dword ptr [AddVectoredExceptionHandler]
  push old
  push 0x140                   ; PAGE_EXECUTE_READWRITE | PAGE_GUARD
  push 0x3000
  push first
  call dword ptr [VirtualProtect]
  test eax, eax
  jz failed
  mov eax, first
  jmp eax
; stdcall: pointers to record and context
handler:
  mov eax, dword ptr [esp + 4]
  mov eax, dword ptr [eax]
  cmp dword ptr [eax], 0x80000001 ; STATUS_GUARD_PAGE_VIOLATION
  jne failed
  mov edx, dword ptr [eax + 24] ; the address
  mov ecx, edx
  and ecx, 0xfffff000
  mov edx, ecx
  add edx, 64                  ; no piece is longer
decrypt:
  xor byte ptr [ecx], 0x2b
  inc ecx
  cmp ecx, edx
  jb decrypt
  or eax, -1                   ; EXCEPTION_CONTINUE_EXECUTION
  ret 4
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
old:
  .long 0
