; SPDX-License-Identifier: Apache-2.0
; TLS callback: the payload is decrypted before the entry point is reached, and the entry point lies in it.
%import kernel32.dll ExitProcess
%entry payload
%tls directory
%payload payload payload_end
%encrypt payload payload_end 0x47

%section .pack rwx
payload:
  push 0
  call dword ptr [ExitProcess]
  %marker
payload_end:

%section .text rx
; stdcall: module, reason, reserved
callback:
  cmp dword ptr [esp + 8], 1   ; DLL_PROCESS_ATTACH
  jne done
  mov ecx, payload
decrypt:
  xor byte ptr [ecx], 0x47
  inc ecx
  cmp ecx, payload_end
  jb decrypt
done:
  ret 12

%section .data rw
directory:
  .long 0, 0, index, callbacks, 0, 0
index:
  .long 0
callbacks:
  .long callback, 0
