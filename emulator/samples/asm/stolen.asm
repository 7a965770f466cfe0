; SPDX-License-Identifier: Apache-2.0
; Stolen bytes: the first instructions of the payload run in a place of their own and jump into the middle of
; it; where they stood there is nothing. Both parts are decrypted at run time.
%import kernel32.dll VirtualAlloc, ExitProcess
%entry start
%payload stolen stolen_end
%payload payload payload_end
%encrypt stolen stolen_end 0xb4
%encrypt payload payload_end 0xb5

%section .pack rwx
original:
  .zero 12                     ; what stood here is in the stolen part
payload:
  add eax, dword ptr [esp]
  add esp, 4
  sub eax, 0x1234
  push eax
  call dword ptr [ExitProcess]
  %marker
payload_end:

%section .text rx
start:
  push 0x40                    ; PAGE_EXECUTE_READWRITE
  push 0x3000
  push 0x1000
  push 0
  call dword ptr [VirtualAlloc]
  test eax, eax
  jz failed
  mov ebx, eax
  mov edi, eax
  mov esi, stolen
steal:
  mov al, byte ptr [esi]
  xor al, 0xb4
  mov byte ptr [edi], al
  inc esi
  inc edi
  cmp esi, stolen_end
  jb steal
  mov esi, payload
decrypt:
  xor byte ptr [esi], 0xb5
  inc esi
  cmp esi, payload_end
  jb decrypt
  jmp ebx
failed:
  push 1
  call dword ptr [ExitProcess]

%section .data rw
stolen:
  push 0x1200
  mov eax, 0x34
  push payload
  ret
  %marker
stolen_end:
