/* SPDX-License-Identifier: Apache-2.0 */
/* What every guest of the lab is: 32 bits with PAE and NX, its kernel at 0x80000000. console.c is behind it. */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define PAGE 4096u
#define KERNEL 0x80000000u

/* Entries of page tables. */
#define PRESENT 1ull
#define WRITE 2ull
#define USER 4ull
#define SEEN 0x60ull /* accessed and dirty */
#define NX (1ull << 63)

/* On port 0xe9, Xen's debug port. */
void say(const char *text);
void say_number(const char *what, u32 value);
void halt(void) __attribute__((noreturn));

#endif
