/* SPDX-License-Identifier: Apache-2.0 */
/* How a guest speaks, and stops. */
#include "guest.h"

static void out(u8 byte)
{
    __asm__ volatile("outb %0, $0xe9" : : "a"(byte));
}

void say(const char *text)
{
    while ( *text )
        out(*text++);
}

void say_number(const char *what, u32 value)
{
    int i;

    say(what);
    for ( i = 28; i >= 0; i -= 4 )
        out("0123456789abcdef"[(value >> i) & 15]);
}

void halt(void)
{
    for ( ;; )
        __asm__ volatile("cli; hlt");
}
