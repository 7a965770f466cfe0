/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions as Windows 7 SP1 x86 dispatches them. */
#define _WIN32_WINNT 0x0601
#include "check.h"
#include <string.h>

typedef struct Frame { struct Frame *next; void *handler; int tag; } Frame;
typedef EXCEPTION_DISPOSITION (*Handler)(EXCEPTION_RECORD *, Frame *, CONTEXT *, void *);
void NTAPI RtlUnwind(void *, void *, EXCEPTION_RECORD *, void *);
LONG NTAPI NtContinue(CONTEXT *, BOOLEAN);
LONG NTAPI NtRaiseException(EXCEPTION_RECORD *, CONTEXT *, BOOLEAN);
VOID NTAPI RtlCaptureContext(CONTEXT *);

#define LINK(frame, function) do { \
    (frame).handler = function; \
    asm volatile("movl %%fs:0, %0\n movl %1, %%fs:0" : "=&r"((frame).next) : "r"(&(frame)) : "memory"); \
} while (0)
#define UNLINK(frame) asm volatile("movl %0, %%fs:0" : : "r"((frame).next) : "memory")
/* As a number: compilers believe that no register can hold the address of a frame they did not give it. */
static DWORD chain(void) { DWORD first; asm volatile("movl %%fs:0, %0" : "=r"(first) : : "memory"); return first; }

static EXCEPTION_RECORD last;
static CONTEXT lastContext;
static int calls, skip;
static char *where;
LONG limits[2] = { 3, 7 };

/* Remembers the exception and goes on `skip` bytes further. */
static EXCEPTION_DISPOSITION remember(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (record->ExceptionFlags & 6) return ExceptionContinueSearch;
    calls++;
    last = *record;
    lastContext = *context;
    context->Eip = skip < 0 ? (DWORD)where : context->Eip + skip;
    return ExceptionContinueExecution;
}

/* Runs code under a frame that remembers; `length` is what the handler skips. */
#define RAISES(length, text, code) do { \
    Frame frame_; \
    calls = 0; \
    skip = length; \
    memset(&last, 0, sizeof last); \
    LINK(frame_, remember); \
    asm volatile("leal 1f, %%eax\n movl %%eax, %0\n" text "\n" : "=m"(where) : : "eax", "ecx", "edx", "memory", "cc"); \
    UNLINK(frame_); \
    CHECK(calls == 1 && last.ExceptionCode == (DWORD)(code)); \
} while (0)

static void faults(void) {
    RAISES(1, "1: int3", STATUS_BREAKPOINT);
    CHECK(last.ExceptionAddress == where && lastContext.Eip == (DWORD)where && last.NumberParameters == 1);
    RAISES(2, "xorl %%ecx, %%ecx\n 1: divl %%ecx", STATUS_INTEGER_DIVIDE_BY_ZERO);
    CHECK(last.ExceptionAddress == where && last.NumberParameters == 0);
    RAISES(2, "movl $0x80000000, %%eax\n cltd\n orl $-1, %%ecx\n 1: idivl %%ecx", STATUS_INTEGER_OVERFLOW);
    RAISES(2, "1: ud2", STATUS_ILLEGAL_INSTRUCTION);
    RAISES(1, "1: hlt", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(1, "1: cli", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(1, "1: inb %%dx, %%al", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(3, "1: movl %%cr0, %%eax", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(3, "1: movl %%eax, %%dr7", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(2, "1: rdmsr", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(2, "1: wbinvd", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(3, "1: lmsw %%ax", STATUS_PRIVILEGED_INSTRUCTION);
    RAISES(2, "xorl %%ecx, %%ecx\n 1: movb %%al, (%%ecx)", STATUS_ACCESS_VIOLATION);
    CHECK(last.NumberParameters == 2 && last.ExceptionInformation[0] == 1 && last.ExceptionInformation[1] == 0);
    RAISES(2, "movl $0x80001234, %%ecx\n 1: movb (%%ecx), %%al", STATUS_ACCESS_VIOLATION);
    CHECK(last.ExceptionInformation[0] == 0 && last.ExceptionInformation[1] == 0x80001234);
    RAISES(2, "movl $0x1018, %%eax\n 1: movl %%eax, %%gs", STATUS_ACCESS_VIOLATION);
    CHECK(last.ExceptionInformation[0] == 0 && last.ExceptionInformation[1] == 0xffffffff);
    RAISES(2, "1: int $1", STATUS_ACCESS_VIOLATION);
    CHECK(last.ExceptionInformation[1] == 0xffffffff && last.ExceptionAddress == where);
    RAISES(2, "1: int $0x55", STATUS_ACCESS_VIOLATION);
    RAISES(0, "movl $0x7fffffff, %%eax\n incl %%eax\n into\n 1:", STATUS_INTEGER_OVERFLOW);
    CHECK(last.ExceptionAddress == where - 1 && lastContext.Eip == (DWORD)where);
    RAISES(6, "movl $8, %%eax\n 1: boundl %%eax, _limits", STATUS_ARRAY_BOUNDS_EXCEEDED);
    CHECK(last.ExceptionAddress == where);
    /* Going on elsewhere: where control came from is the call's own matter. */
    RAISES(-1, "movl $0x2a000, %%eax\n pushl $0\n jmp *%%eax\n 1: popl %%eax", STATUS_ACCESS_VIOLATION);
    CHECK(last.ExceptionAddress == (void *)0x2a000 && last.ExceptionInformation[0] == 8 && last.ExceptionInformation[1] == 0x2a000);
    /* Selectors and flags are made harmless, general registers come back as the handler left them. */
    CHECK(lastContext.SegCs == 0x1b && lastContext.SegDs == 0x23 && lastContext.SegFs == 0x3b && lastContext.SegSs == 0x23);
    CHECK((lastContext.ContextFlags & 0x1003f) == 0x1003f);
}

static void stepping(void) {
    RAISES(0, "pushfl\n orl $0x100, (%%esp)\n popfl\n nop\n 1:", STATUS_SINGLE_STEP);
    CHECK(last.ExceptionAddress == where && !(lastContext.EFlags & 0x100) && last.NumberParameters == 0);
    RAISES(0, ".byte 0xf1\n 1:", STATUS_SINGLE_STEP);
    CHECK(last.ExceptionAddress == where);
    /* The debug service reports one byte back from the byte it skips. */
    RAISES(1, "xorl %%eax, %%eax\n int $0x2d\n 1: nop\n nop", STATUS_BREAKPOINT);
    CHECK(last.ExceptionAddress == where && last.NumberParameters == 1 && last.ExceptionInformation[0] == 0);
}

/* An unmasked x87 exception is reported by the next waiting instruction; the status word says which it was. */
static void floats(void) {
#define FLOATS(control, text, code) do { \
    static const WORD word_ = control; \
    asm volatile("fninit\n fldcw %0" : : "m"(word_)); \
    RAISES(1, text "\n 1: fwait", code); \
    asm volatile("fninit"); \
} while (0)
    FLOATS(0x37b, "fld1\n fldz\n fdivrp", STATUS_FLOAT_DIVIDE_BY_ZERO);
    /* The exception is the division's, though the next instruction found it. */
    CHECK(last.ExceptionAddress == where - 2 && lastContext.Eip == (DWORD)where);
    CHECK((lastContext.FloatSave.StatusWord & 4) && last.NumberParameters == 1);
    FLOATS(0x37e, "fldz\n fldz\n fdivrp", STATUS_FLOAT_INVALID_OPERATION);
    FLOATS(0x37e, "faddp", STATUS_FLOAT_STACK_CHECK);
    FLOATS(0x35f, "fld1\n fld1\n fld1\n faddp\n fdivrp\n pushl $0x40400000\n fdivs (%%esp)\n popl %%eax", STATUS_FLOAT_INEXACT_RESULT);
    /* SSE: the fault is the instruction's own. */
    RAISES(4, "pushl $0x1d80\n ldmxcsr (%%esp)\n popl %%eax\n pushl $0x3f800000\n movss (%%esp), %%xmm0\n popl %%eax\n xorps %%xmm1, %%xmm1\n 1: divss %%xmm1, %%xmm0", 0xc00002b5);
    CHECK(last.ExceptionAddress == where);
    RAISES(4, "pushl $0x1f80\n ldmxcsr (%%esp)\n popl %%eax\n 1: int3\n nop\n nop\n nop", STATUS_BREAKPOINT);
    CHECK(*(DWORD *)(lastContext.ExtendedRegisters + 0x18) == 0x1f80);
}

/* Vectored handlers come first, in order; those for going on come last. */
static char order[16];
static LONG CALLBACK first(EXCEPTION_POINTERS *p) { strcat(order, "1"); return EXCEPTION_CONTINUE_SEARCH; }
static LONG CALLBACK second(EXCEPTION_POINTERS *p) { strcat(order, "2"); return EXCEPTION_CONTINUE_SEARCH; }
static LONG CALLBACK solves(EXCEPTION_POINTERS *p) {
    strcat(order, "s");
    p->ContextRecord->Eip++;
    return EXCEPTION_CONTINUE_EXECUTION;
}
static LONG CALLBACK goesOn(EXCEPTION_POINTERS *p) { strcat(order, "c"); return EXCEPTION_CONTINUE_SEARCH; }
static EXCEPTION_DISPOSITION framed(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    strcat(order, "f");
    context->Eip++;
    return ExceptionContinueExecution;
}

static void vectored(void) {
    void *b = AddVectoredExceptionHandler(0, second);
    void *a = AddVectoredExceptionHandler(1, first);
    void *c = AddVectoredContinueHandler(1, goesOn);
    Frame frame;
    LINK(frame, framed);
    asm volatile("int3");
    CHECK(strcmp(order, "12fc") == 0);
    void *d = AddVectoredExceptionHandler(0, solves);
    *order = 0;
    asm volatile("int3");
    CHECK(strcmp(order, "12sc") == 0);
    CHECK(RemoveVectoredExceptionHandler(a) && !RemoveVectoredExceptionHandler(a));
    CHECK(RemoveVectoredContinueHandler(c) && RemoveVectoredExceptionHandler(d));
    *order = 0;
    asm volatile("int3");
    CHECK(strcmp(order, "2f") == 0 && RemoveVectoredExceptionHandler(b));
    UNLINK(frame);
}

/* The chain of frames, exceptions in handlers, unwinding. */
static DWORD chainInside;
static DWORD flagsInner, flagsOuter, unwound[8], unwinds, unwindCode;

static EXCEPTION_DISPOSITION faulty(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (record->ExceptionFlags & 2) { unwound[unwinds++] = frame->tag; return ExceptionContinueSearch; }
    if (record->ExceptionFlags & 0x10) { flagsInner = record->ExceptionFlags; return ExceptionContinueSearch; }
    chainInside = chain();
    asm volatile("ud2");
    context->Eip++;
    return ExceptionContinueExecution;
}

static EXCEPTION_DISPOSITION outer(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (record->ExceptionFlags & 2) { unwound[unwinds++] = frame->tag; return ExceptionContinueSearch; }
    if (record->ExceptionCode != STATUS_ILLEGAL_INSTRUCTION) return ExceptionContinueSearch;
    flagsOuter = record->ExceptionFlags;
    context->Eip += 2;
    return ExceptionContinueExecution;
}

static void nested(void) {
    Frame a = { .tag = 1 }, b = { .tag = 2 };
    LINK(a, outer);
    LINK(b, faulty);
    asm volatile("int3");
    /* While a handler runs, a record of the system's stands first and leads to the frame. */
    CHECK(chainInside != (DWORD)&b && *(DWORD *)chainInside == (DWORD)&b && chain() == (DWORD)&b);
    CHECK(flagsInner == 0x10 && flagsOuter == 0);
    UNLINK(b);
    UNLINK(a);
}

static EXCEPTION_DISPOSITION counts(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (record->ExceptionFlags & 2) {
        unwound[unwinds++] = frame->tag;
        flagsInner = record->ExceptionFlags;
        unwindCode = record->ExceptionCode;
    }
    return ExceptionContinueSearch;
}
static void unwinding(void) {
    Frame a = { .tag = 1 }, b = { .tag = 2 }, c = { .tag = 3 };
    DWORD result = 0;
    LINK(a, counts);
    LINK(b, counts);
    LINK(c, counts);
    unwinds = 0;
    asm volatile("pushl %%ebx\n pushl %%esi\n pushl %%edi\n pushl %%ebp\n"
        "pushl $77\n pushl $0\n pushl $0\n pushl %1\n call _RtlUnwind@16\n"
        "popl %%ebp\n popl %%edi\n popl %%esi\n popl %%ebx\n" : "=a"(result) : "r"(&a) : "ecx", "edx", "memory");
    CHECK(result == 77 && unwinds == 2 && unwound[0] == 3 && unwound[1] == 2 && chain() == (DWORD)&a);
    CHECK((flagsInner & 6) == 2 && unwindCode == 0xc0000027);
    UNLINK(a);
}

/* A handler that leaves an unwinding by an unwinding of its own: the first one's frames are not called again. */
void *escapeTo;
DWORD escapeEsp, escapeEbp;
static EXCEPTION_DISPOSITION collides(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (!(record->ExceptionFlags & 2)) return ExceptionContinueSearch;
    unwound[unwinds++] = frame->tag;
    asm volatile("ud2");
    return ExceptionContinueSearch;
}
static EXCEPTION_DISPOSITION leaves(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (record->ExceptionFlags & 2) { unwound[unwinds++] = frame->tag; return ExceptionContinueSearch; }
    if (record->ExceptionCode == STATUS_BREAKPOINT || record->ExceptionCode == STATUS_ILLEGAL_INSTRUCTION) {
        RtlUnwind(frame, NULL, record, NULL);
        context->Eip = 0;
        asm volatile("movl %0, %%esp\n movl %1, %%ebp\n jmp *%2" : : "a"(escapeEsp), "d"(escapeEbp), "c"(escapeTo));
    }
    return ExceptionContinueSearch;
}

static void __attribute__((noinline)) colliding(void) {
    Frame a = { .tag = 1 }, b = { .tag = 2 }, c = { .tag = 3 }, d = { .tag = 4 };
    LINK(a, leaves);
    LINK(b, counts);
    LINK(c, collides);
    LINK(d, counts);
    unwinds = 0;
    asm volatile("pushl %%ebx\n pushl %%esi\n pushl %%edi\n movl %%esp, _escapeEsp\n movl %%ebp, _escapeEbp\n movl $1f, _escapeTo\n int3\n"
        "1: popl %%edi\n popl %%esi\n popl %%ebx" : : : "eax", "ecx", "edx", "memory");
    CHECK(unwinds == 3 && unwound[0] == 4 && unwound[1] == 3 && unwound[2] == 2 && chain() == (DWORD)&a);
    UNLINK(a);
}

/* What handlers may not answer, and where RaiseException is special. */
static EXCEPTION_DISPOSITION strange(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    return record->ExceptionCode == 0xe0000001 ? (EXCEPTION_DISPOSITION)7 : ExceptionContinueSearch;
}
static EXCEPTION_DISPOSITION insists(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (record->ExceptionFlags & 2) return ExceptionContinueSearch;
    if (record->ExceptionCode == 0xe0000002) return ExceptionContinueExecution;
    return ExceptionContinueSearch;
}
static void *jump[5];
static EXCEPTION_DISPOSITION catches(EXCEPTION_RECORD *record, Frame *frame, CONTEXT *context, void *d) {
    if (record->ExceptionFlags & 2) return ExceptionContinueSearch;
    last = *record;
    if (record->ExceptionRecord) lastContext.Eip = record->ExceptionRecord->ExceptionCode;
    RtlUnwind(frame, NULL, record, NULL);
    __builtin_longjmp(jump, 1);
}
/* Runs a statement whose exception `catches` catches. */
#define CAUGHT(statement) do { \
    last.ExceptionCode = 0; \
    if (__builtin_setjmp(jump) == 0) { statement; } \
} while (0)

static void __attribute__((noinline)) raising(void) {
    static ULONG_PTR words[20] = { 1, 2, 3 };
    static Frame *first;
    Frame a = { .tag = 1 }, b = { .tag = 2 };
    LINK(a, catches);
    first = &a;
    CAUGHT(RaiseException(0xe1234567, 0, 3, words));
    CHECK(last.ExceptionCode == 0xe1234567 && last.NumberParameters == 3 && last.ExceptionInformation[2] == 3);
    CAUGHT(RaiseException(0x10000001, 0, 20, words));
    CHECK(last.ExceptionCode == 0x00000001 && last.NumberParameters == 15);
    CAUGHT(LINK(b, strange); RaiseException(0xe0000001, 0, 0, NULL));
    CHECK(last.ExceptionCode == STATUS_INVALID_DISPOSITION && (last.ExceptionFlags & 1) && lastContext.Eip == 0xe0000001);
    CAUGHT(LINK(b, insists); RaiseException(0xe0000002, EXCEPTION_NONCONTINUABLE, 0, NULL));
    CHECK(last.ExceptionCode == STATUS_NONCONTINUABLE_EXCEPTION && lastContext.Eip == 0xe0000002);
    CHECK(chain() == (DWORD)first);
    UNLINK(*first);
}

/* The filter of last resort, also called by hand. */
static LONG CALLBACK lastResort(EXCEPTION_POINTERS *p) {
    calls++;
    p->ContextRecord->Eip += skip;
    return EXCEPTION_CONTINUE_EXECUTION;
}
static LONG CALLBACK declines(EXCEPTION_POINTERS *p) { calls++; return EXCEPTION_CONTINUE_SEARCH; }
static void filters(void) {
    EXCEPTION_RECORD record = { .ExceptionCode = 0xe0000003 };
    CONTEXT context = { .ContextFlags = CONTEXT_FULL };
    EXCEPTION_POINTERS pointers = { &record, &context };
    CHECK(SetUnhandledExceptionFilter(NULL) || 1);
    CHECK(UnhandledExceptionFilter(&pointers) == EXCEPTION_EXECUTE_HANDLER);
    CHECK(SetUnhandledExceptionFilter(declines) == NULL);
    calls = 0;
    CHECK(UnhandledExceptionFilter(&pointers) == EXCEPTION_CONTINUE_SEARCH && calls == 1);
    CHECK(SetUnhandledExceptionFilter(lastResort) == declines);
    calls = 0;
    skip = 1;
    asm volatile("int3");
    CHECK(calls == 1 && SetUnhandledExceptionFilter(NULL) == lastResort);
}

/* Contexts: captured, changed, put back; debug registers. */
static void contexts(void) {
    CONTEXT context;
    volatile int turn = 0;
    memset(&context, 0, sizeof context);
    context.ContextFlags = CONTEXT_FULL;
    RtlCaptureContext(&context);
    if (turn++ == 0) {
        context.Eax = 5;
        NtContinue(&context, FALSE);
    }
    CHECK(turn == 2);
    CONTEXT debug = { .ContextFlags = CONTEXT_DEBUG_REGISTERS, .Dr0 = 0x12345, .Dr1 = 0x90000000, .Dr7 = 0x101 };
    CHECK(SetThreadContext(GetCurrentThread(), &debug));
    CONTEXT got = { .ContextFlags = CONTEXT_DEBUG_REGISTERS };
    CHECK(GetThreadContext(GetCurrentThread(), &got) && got.Dr0 == 0x12345 && got.Dr1 == 0 && (got.Dr7 & 0xff) == 1);
    CHECK(got.Eip == 0 && got.Esp == 0);
    debug.Dr0 = debug.Dr7 = 0;
    CHECK(SetThreadContext(GetCurrentThread(), &debug));
}

int main(void) {
    faults();
    stepping();
    floats();
    vectored();
    nested();
    unwinding();
    colliding();
    raising();
    filters();
    contexts();
    FINISH();
    return failures != 0;
}
