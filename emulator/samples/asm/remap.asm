; SPDX-License-Identifier: Apache-2.0
; Section re-map: the payload is written through a view that can only be written, the view is taken away, and
; the same section is mapped again so that it can only be run.
%import ntdll.dll NtCreateSection, NtMapViewOfSection, NtUnmapViewOfSection
%import kernel32.dll ExitProcess
%entry start
%payload payload payload_end
%encrypt payload payload_end 0x1f

%section .text rx
start:
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
  call map
  mov edi, dword ptr [base]
  mov esi, payload
decrypt:
  mov al, byte ptr [esi]
  xor al, 0x1f
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
  call map
  jmp dword ptr [base]
; Maps the section where there is room, with the protection on the stack.
map:
  mov dword ptr [base], 0
  mov dword ptr [size], 0
  push dword ptr [esp + 4]
  push 0
  push 2                       ; ViewUnmap
  push size
  push 0
  push 0
  push 0
  push base
  push -1
  push dword ptr [section]
  call dword ptr [NtMapViewOfSection]
  test eax, eax
  jnz failed
  ret 4
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
maximum:
  .long 0x1000, 0
section:
  .long 0
base:
  .long 0
size:
  .long 0
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:
