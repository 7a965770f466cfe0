/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program for the lab's Linux guest, without any library: makes code in the ways that programs do there, above 2 GiB,
 * where a 32-bit Linux has user memory too, and prints what the code gave. The text of the payload stands in no file.
 *
 * Addresses and codes are what xen/lab/dom0/linux.ts expects.
 */
#define TURNED 0x90000000u  /* written, then made executable by mprotect */
#define REWRITTEN 0xa0000000u /* may be written and run; rewritten and run again */
#define SHARED 0xb0000000u  /* one file mapped by two processes: one writes, the other runs */
#define ROUNDS 8u

enum { SYS_EXIT = 1, SYS_FORK = 2, SYS_WRITE = 4, SYS_OPEN = 5, SYS_WAITPID = 7, SYS_FTRUNCATE = 93,
       SYS_MPROTECT = 125, SYS_MMAP2 = 192 };
enum { READ = 1, WRITE = 2, EXEC = 4, FROM_FILE = 1, PRIVATE = 2, FIXED = 0x10, ANONYMOUS = 0x20 };

static int call(int number, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e)
{
    int result;

    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
    return result;
}

/* The sixth argument, an offset in the file, is always 0. */
static int map(unsigned address, unsigned rights, unsigned flags, int file)
{
    int result;

    __asm__ volatile("push %%ebp; xor %%ebp, %%ebp; int $0x80; pop %%ebp"
                     : "=a"(result)
                     : "a"(SYS_MMAP2), "b"(address), "c"(4096u), "d"(rights), "S"(flags | FIXED), "D"(file)
                     : "memory");
    return result;
}

static void leave(unsigned code)
{
    for ( ;; )
        call(SYS_EXIT, code, 0, 0, 0, 0);
}

static void must(int holds, unsigned code)
{
    if ( !holds )
        leave(code);
}

/* "UMBRA-LAB-PAYLOAD", each byte by exclusive or with 0x5a. */
static const unsigned char hidden[] = { 0x0f, 0x17, 0x18, 0x08, 0x1b, 0x77, 0x16, 0x1b, 0x18, 0x77, 0x0a, 0x1b,
                                        0x03, 0x16, 0x15, 0x1b, 0x1e };

/* Code that returns `value`, and behind it the payload's text. */
static void write_code(unsigned address, unsigned value)
{
    volatile unsigned char *to = (unsigned char *)address;
    unsigned i;

    to[0] = 0xb8; /* mov eax, imm32; ret */
    for ( i = 0; i < 4; i++ )
        to[1 + i] = (unsigned char)(value >> (i * 8));
    to[5] = 0xc3;
    for ( i = 0; i < sizeof(hidden); i++ )
        to[16 + i] = hidden[i] ^ 0x5a;
}

static unsigned run_code(unsigned address)
{
    return ((unsigned (*)(void))address)();
}

static void say(unsigned value)
{
    char text[] = "program: 00000000\n";
    unsigned i;

    for ( i = 0; i < 8; i++ )
        text[9 + i] = "0123456789abcdef"[(value >> (28 - i * 4)) & 15];
    call(SYS_WRITE, 1, (unsigned)text, sizeof(text) - 1, 0, 0);
}

void _start(void)
{
    unsigned sum = 0, i;
    int file, child, status = 0;

    must(map(TURNED, READ | WRITE, PRIVATE | ANONYMOUS, -1) == (int)TURNED, 1);
    write_code(TURNED, 0x1111);
    must(call(SYS_MPROTECT, TURNED, 4096, READ | EXEC, 0, 0) == 0, 2);
    sum += run_code(TURNED);

    must(map(REWRITTEN, READ | WRITE | EXEC, PRIVATE | ANONYMOUS, -1) == (int)REWRITTEN, 3);
    for ( i = 0; i < ROUNDS; i++ )
    {
        write_code(REWRITTEN, 0x2200 + i);
        sum = sum * 3 + run_code(REWRITTEN);
    }

    file = call(SYS_OPEN, (unsigned)"/tmp/shared", 0102 /* O_RDWR | O_CREAT */, 0700, 0, 0);
    must(file >= 0 && call(SYS_FTRUNCATE, (unsigned)file, 4096, 0, 0, 0) == 0, 4);
    must(map(SHARED, READ | WRITE, FROM_FILE, file) == (int)SHARED, 5);
    write_code(SHARED, 0x33);
    child = call(SYS_FORK, 0, 0, 0, 0, 0);
    if ( child == 0 )
    {
        must(map(SHARED, READ | EXEC, FROM_FILE, file) == (int)SHARED, 6);
        leave(run_code(SHARED));
    }
    must(call(SYS_WAITPID, (unsigned)child, (unsigned)&status, 0, 0, 0) == child && status == 0x3300, 7);
    say(sum + (unsigned)status);
    leave(0);
}
