// SPDX-License-Identifier: Apache-2.0
// A program with a packer layer of its own inside, to be packed once more: the section .secret is encrypted after
// linking (see programs.ts) and decrypted in place before it runs.
#include <stdio.h>
#include <windows.h>

#define SECRET __attribute__((section(".secret"), noinline))

/** Length in bytes and key of the section, filled in after linking. */
volatile struct {
    char magic[8];
    DWORD length;
    DWORD key;
} layer = {{'U', 'M', 'B', 'R', 'A', 'K', 'E', 'Y'}, 0, 0};

static const char payload_text[] = "the payload speaks";

SECRET static DWORD mix(DWORD value)
{
    for (int round = 0; round < 16; round++)
        value = (value << 5 | value >> 27) ^ (value * 0x9e3779b1u + round);
    return value;
}

SECRET static int payload(const char *text)
{
    DWORD sum = 0;
    for (const char *at = text; *at; at++)
        sum = mix(sum + (unsigned char)*at);
    printf("%s: %08lx\n", text, sum);
    MessageBoxA(NULL, text, "layer", MB_OK);
    return (int)(sum & 0xff);
}

extern char secret_begin[] __asm__("_mix");

int main(void)
{
    BYTE *at = (BYTE *)((DWORD)secret_begin & ~0xfffu);
    DWORD old, state = layer.key;
    printf("decrypting\n");
    if (!VirtualProtect(at, layer.length, PAGE_EXECUTE_READWRITE, &old))
        return 1;
    for (DWORD index = 0; index < layer.length; index++) {
        state = state * 1664525u + 1013904223u;
        at[index] ^= (BYTE)(state >> 24);
    }
    VirtualProtect(at, layer.length, PAGE_EXECUTE_READ, &old);
    FlushInstructionCache(GetCurrentProcess(), at, layer.length);
    return payload(payload_text);
}
