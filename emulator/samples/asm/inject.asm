; SPDX-License-Identifier: Apache-2.0
; A write from another process: the program starts itself again, suspended, and puts the payload into that
; process by WriteProcessMemory, four bytes at a time, so that its own memory never holds the marker. A remote
; thread runs it there.
%import kernel32.dll GetModuleFileNameA, CreateProcessA, VirtualAllocEx, WriteProcessMemory, CreateRemoteThread
%import kernel32.dll WaitForSingleObject, ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0xd3

%section .text rx
start:
  push 260
  mov eax, path
  push eax
  push 0
  call dword ptr [GetModuleFileNameA]
  test eax, eax
  jz failed
  mov eax, information
  push eax
  mov eax, startup
  push eax
  push 0
  push 0
  push 4                       ; CREATE_SUSPENDED
  push 0
  push 0
  push 0
  push 0                       ; no command line
  mov eax, path
  push eax
  call dword ptr [CreateProcessA]
  test eax, eax
  jz failed
  push 0x40                    ; PAGE_EXECUTE_READWRITE
  push 0x3000
  push 0x1000
  push 0
  push dword ptr [information]
  call dword ptr [VirtualAllocEx]
  test eax, eax
  jz failed
  mov ebx, eax
  mov edi, eax
  mov esi, payload
write:
  mov eax, dword ptr [esi]
  xor eax, 0xd3d3d3d3
  mov dword ptr [piece], eax
  push 0
  push 4
  mov eax, piece
  push eax
  push edi
  push dword ptr [information]
  call dword ptr [WriteProcessMemory]
  test eax, eax
  jz failed
  add esi, 4
  add edi, 4
  cmp esi, payload_end
  jb write
  push 0
  push 0
  push 0
  push ebx
  push 0
  push 0
  push dword ptr [information]
  call dword ptr [CreateRemoteThread]
  test eax, eax
  jz failed
  push -1                      ; INFINITE
  push dword ptr [information]
  call dword ptr [WaitForSingleObject]
  push 0
  call dword ptr [ExitProcess]
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
startup:                       ; STARTUPINFOA
  .long 68
  .zero 64
information:                   ; PROCESS_INFORMATION: process handle, thread handle, their numbers
  .zero 16
piece:
  .long 0
path:
  .zero 260
  .p2align 2, 0
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
  .p2align 2, 0
payload_end:
